// Copies the examples of the repository into this package, before it is packed.
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';

const here = path.join(import.meta.dirname, '..');
const left = ['node_modules', 'dist', '.convoy'];

await rm(path.join(here, 'examples'), { recursive: true, force: true });
await cp(path.join(here, '../../examples'), path.join(here, 'examples'), {
  recursive: true,
  filter: (file) => !left.includes(path.basename(file)) && !/\.test\.tsx?$/.test(file),
});
