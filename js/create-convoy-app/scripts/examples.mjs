// Copies the repository's examples into this package before it is packed (`copy`), and removes them after that
// (`remove`), so that the copy is never older than the originals.
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';

const here = path.join(import.meta.dirname, '..');
const copy = path.join(here, 'examples');
const local = ['node_modules', 'dist', '.convoy', 'convoy-build'];

await rm(copy, { recursive: true, force: true });
if (process.argv[2] === 'copy') {
  await cp(path.join(here, '../../examples'), copy, {
    recursive: true,
    filter: (file) => !local.includes(path.basename(file)) && !/\.test\.tsx?$/.test(file),
  });
}
