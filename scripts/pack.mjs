// Packs everything that is published: the packages of the platforms, @avvos/convoy, and
// the other packages in js/, which must have been built.
//
//   node scripts/pack.mjs [--out <folder>] [--repository <url>] [--built-only]
//
// The published manifest of @avvos/convoy differs from that in the repository: the
// packages of the platforms are optional dependencies in exactly this version, which
// npm could not install before they are published, and there are no development
// dependencies. Addons are taken from npm/; each must exist, unless --built-only.
import { copyFile, cp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { billFile, billOfAddon, billOfLibrary } from './bill-of-materials.mjs';
import { buildPackage } from './build.mjs';
import { packCreateApp } from './pack-create-app.mjs';
import { filesOf, manifestOfConvoy, packageNameOf, platforms } from './platform-packages.mjs';
import { root, run, StepError } from './run.mjs';
import { vendorEsbuild } from './vendor.mjs';

/**
 * @typedef {{ name: string, file: string, bytes: number, hasAddon: boolean }} Packed `file` is the path of the tarball
 */

/** The manifest of @avvos/convoy as published. */
export function publishedManifest(manifest, repository) {
  const engines = Object.fromEntries(platforms.map((each) => [packageNameOf(each), manifest.version]));
  return {
    ...libraryManifest(manifest, repository),
    optionalDependencies: { ...manifest.optionalDependencies, ...engines },
  };
}

/** The manifest of a library as published. */
function libraryManifest({ devDependencies: _, scripts: __, ...manifest }, repository) {
  return { ...manifest, ...(repository ? { repository: { type: 'git', url: repository } } : {}) };
}

/**
 * Packs everything into `out`. The packages of the platforms come first: they must be published before @avvos/convoy,
 * because yarn fails if an optional dependency does not exist.
 *
 * @param {{ out: string, repository?: string, addon?: (tag: string) => string, withoutAddon?: 'error' | 'manifest only' }} options
 *   `addon` is the path of a platform's addon
 * @returns {Promise<Packed[]>}
 */
export async function packAll({ out, repository, addon = builtAddon, withoutAddon = 'error' }) {
  const convoy = await manifestOfConvoy();
  const staging = join(out, 'staging');
  await rm(staging, { recursive: true, force: true });
  const addons = await Promise.all(platforms.map(async ({ tag }) => [tag, await isFile(addon(tag))]));
  const missing = addons.filter(([, exists]) => !exists).map(([tag]) => tag);
  if (missing.length > 0 && withoutAddon === 'error') {
    throw new StepError(`npm/ has no addon for ${missing.join(', ')}. Build them, or pass --built-only.`);
  }

  const packed = [];
  for (const platform of platforms) {
    const folder = join(staging, platform.tag);
    await mkdir(folder, { recursive: true });
    for (const [file, text] of Object.entries(filesOf(platform, convoy))) {
      const withRepository = file === 'package.json' && repository ? addRepository(text, repository) : text;
      await writeFile(join(folder, file), withRepository);
    }
    const hasAddon = !missing.includes(platform.tag);
    if (hasAddon) await copyFile(addon(platform.tag), join(folder, 'convoy.node'));
    const { version, license } = convoy;
    const bill = await billOfAddon({ name: packageNameOf(platform), version, license }, platform.target);
    await writeFile(join(folder, billFile), bill);
    packed.push({ ...(await pack(folder, packageNameOf(platform), out)), hasAddon });
  }
  await vendorEsbuild();
  const engineFiles = ['bin', 'skills', 'vendor', 'README.md'];
  const published = publishedManifest(convoy, repository);
  packed.push({ ...(await packLibrary('convoy', engineFiles, published, { staging, out })), hasAddon: false });
  const auth = libraryManifest(await manifestIn('convoy-auth'), repository);
  packed.push({ ...(await packLibrary('convoy-auth', ['README.md'], auth, { staging, out })), hasAddon: false });
  const createApp = await packCreateApp(out);
  packed.push({ ...createApp, bytes: (await stat(createApp.file)).size, hasAddon: false });
  await rm(staging, { recursive: true });
  return packed;
}

/** Packs a library: `files` of its folder, and what the compiler writes. */
async function packLibrary(name, files, manifest, { staging, out }) {
  const folder = join(staging, name);
  await mkdir(folder, { recursive: true });
  // Not a copy of `dist`, which may have files of deleted sources. No source maps, because the sources are not published.
  await run(`Building ${manifest.name}`, 'npx', [
    'tsc',
    '-p',
    `js/${name}`,
    '--sourceMap',
    'false',
    '--outDir',
    join(folder, 'dist'),
  ]);
  for (const each of files) await cp(join(root, 'js', name, each), join(folder, each), { recursive: true });
  // In the repository, so that the lockfile tells the versions. The package has the files of esbuild.
  const bill = await billOfLibrary(manifest, `js/${name}`, files.includes('vendor') ? ['esbuild'] : []);
  await writeFile(join(folder, billFile), bill);
  const published = { ...manifest, files: [...manifest.files, billFile] };
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
  return pack(folder, manifest.name, out);
}

async function manifestIn(name) {
  return JSON.parse(await readFile(join(root, 'js', name, 'package.json'), 'utf8'));
}

async function tarball(name, version, out) {
  const file = join(out, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);
  return { name, file, bytes: (await stat(file)).size };
}

/** Packs a folder, with the licence. */
async function pack(folder, name, out) {
  await copyFile(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  const { version } = await manifestOfConvoy();
  await run(`Packing ${name}`, 'npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out], {
    cwd: folder,
  });
  return tarball(name, version, out);
}

function addRepository(manifest, url) {
  return `${JSON.stringify({ ...JSON.parse(manifest), repository: { type: 'git', url } }, null, 2)}\n`;
}

function builtAddon(tag) {
  return join(root, 'npm', tag, 'convoy.node');
}

async function isFile(path) {
  return stat(path).then(
    (found) => found.isFile(),
    (error) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: join(root, 'target/packages') },
      repository: { type: 'string' },
      'built-only': { type: 'boolean', default: false },
    },
  });
  await buildPackage();
  await mkdir(values.out, { recursive: true });
  const { out, repository } = values;
  const packed = await packAll({ out, repository, withoutAddon: values['built-only'] ? 'manifest only' : 'error' });
  console.log('\nIn the order of publication:');
  for (const { name, file, bytes, hasAddon } of packed) {
    const needsAddon = platforms.some((each) => packageNameOf(each) === name);
    const note = hasAddon || !needsAddon ? '' : ', without an addon: do not publish';
    console.log(`  ${name}  ${(bytes / 1e6).toFixed(1)} MB${note}  ${file}`);
  }
}
