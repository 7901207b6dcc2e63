// Copies the JavaScript of esbuild into the package, without the install script of its
// npm package. `js/convoy/src/cli/code/esbuild.ts` gives the reason.
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root } from './run.mjs';

export async function vendorEsbuild() {
  const convoy = join(root, 'js/convoy');
  const from = dirname(dirname(createRequire(join(convoy, 'package.json')).resolve('esbuild')));
  const to = join(convoy, 'vendor/esbuild');
  const { name, version, license } = JSON.parse(await readFile(join(from, 'package.json'), 'utf8'));
  await mkdir(join(to, 'lib'), { recursive: true });
  // esbuild looks for its binary only from a file of this name.
  await copyFile(join(from, 'lib/main.js'), join(to, 'lib/main.js'));
  await copyFile(join(from, 'LICENSE.md'), join(to, 'LICENSE.md'));
  const manifest = { name, version, license, type: 'commonjs', private: true };
  await writeFile(join(to, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}
