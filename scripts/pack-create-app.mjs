// Packs create-convoy-app, which must have been built, with the repository's examples.
//
//   node scripts/pack-create-app.mjs <out>
//
// It packs a copy, since tests that run at the same time pack it too.
import { copyFile, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { billFile, billOfLibrary } from './bill-of-materials.mjs';
import { root, run } from './run.mjs';

const name = 'create-convoy-app';
const source = join(root, 'js', name);
const local = ['node_modules', 'dist', '.convoy', 'convoy-build'];

/**
 * @param {string} out the folder of the tarball
 * @returns {Promise<{ name: string, file: string }>} `file` is the path of the tarball
 */
export async function packCreateApp(out) {
  const manifest = JSON.parse(await readFile(join(source, 'package.json'), 'utf8'));
  const { version, files } = manifest;
  const staging = await mkdtemp(join(out, 'staging-'));
  try {
    for (const each of ['README.md', ...files.filter((each) => each !== 'examples')]) {
      await cp(join(source, each), join(staging, each), { recursive: true });
    }
    const published = { ...manifest, files: [...files, billFile] };
    await writeFile(join(staging, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
    await writeFile(join(staging, billFile), await billOfLibrary(manifest, `js/${name}`));
    await copyFile(join(root, 'LICENSE'), join(staging, 'LICENSE'));
    await cp(join(root, 'examples'), join(staging, 'examples'), {
      recursive: true,
      filter: (file) => !local.includes(basename(file)) && !/\.test\.tsx?$/.test(file),
    });
    await run(`Packing ${name}`, 'npm', ['pack', '--silent', '--pack-destination', out], { cwd: staging });
  } finally {
    await rm(staging, { recursive: true });
  }
  return { name, file: join(out, `${name}-${version}.tgz`) };
}

if (process.argv[1] === import.meta.filename) await packCreateApp(process.argv[2]);
