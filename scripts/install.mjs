// Installs the npm packages when package-lock.json differs from the last install.
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, run } from './run.mjs';

export async function ensureInstalled() {
  const lock = await readFile(join(root, 'package-lock.json'));
  const wanted = createHash('sha256').update(lock).digest('hex');
  const stampFile = join(root, 'node_modules', '.convoy-installed');
  const installed = await readFile(stampFile, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  if (installed === wanted) return;
  await run('Installing npm packages', 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
  await writeFile(stampFile, wanted);
}
