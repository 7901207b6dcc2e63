// Copies the JavaScript of esbuild into the package, without the install script of its
// npm package. `js/convoy/src/cli/code/esbuild.ts` gives the reason.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root } from './run.mjs';

export async function vendorEsbuild() {
  const convoy = join(root, 'js/convoy');
  const from = dirname(dirname(createRequire(join(convoy, 'package.json')).resolve('esbuild')));
  const to = join(convoy, 'vendor/esbuild');
  const { name, version, license } = JSON.parse(await readFile(join(from, 'package.json'), 'utf8'));
  const manifest = { name, version, license, type: 'commonjs', private: true };
  // esbuild looks for its binary only from a file of this name.
  await update(join(to, 'lib/main.js'), await readFile(join(from, 'lib/main.js')));
  await update(join(to, 'LICENSE.md'), await readFile(join(from, 'LICENSE.md')));
  await update(join(to, 'package.json'), Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`));
}

/** Writes a file that differs, in one step: a program may be loading it. */
async function update(file, content) {
  const present = await readFile(file).catch((error) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (present?.equals(content)) return;
  await mkdir(dirname(file), { recursive: true });
  const complete = `${file}.${process.pid}`;
  await writeFile(complete, content);
  await rename(complete, file);
}
