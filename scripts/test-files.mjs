// Reads the files from which test-selection.mjs selects.
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { root } from './run.mjs';

/** All Rust sources of the workspace. */
export async function rustFiles() {
  const names = await readdir(join(root, 'crates'), { recursive: true });
  return withTexts(names.filter((name) => name.endsWith('.rs')).map((name) => join('crates', name)));
}

/** The test files that Vitest lists. */
export async function typeScriptFiles() {
  const list = ['vitest', 'list', '--filesOnly', '--json'];
  const { stdout } = await promisify(execFile)('npx', list, { cwd: root, maxBuffer: 2 ** 26 });
  return withTexts(JSON.parse(stdout).map(({ file }) => relative(root, file)));
}

function withTexts(paths) {
  return Promise.all(
    paths.map(async (path) => ({
      path: path.split(sep).join('/'),
      text: await readFile(join(root, path), 'utf8'),
    })),
  );
}
