// Installs the npm packages when package-lock.json differs from the last install: those of the repository, or those of
// the documentation site, which only its own scripts need.
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, run } from './run.mjs';

/** @param {string} [folder] the folder of package.json and package-lock.json */
export async function ensureInstalled(folder = root) {
  const lock = await readFile(join(folder, 'package-lock.json'));
  const wanted = createHash('sha256').update(lock).digest('hex');
  const stampFile = join(folder, 'node_modules', '.convoy-installed');
  const installed = await readFile(stampFile, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  if (installed === wanted) return;
  await run('Installing npm packages', 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
  await writeFile(stampFile, wanted);
}
