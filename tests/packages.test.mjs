/**
 * The packages as they are published: their manifests, files and size, and that Node and TypeScript resolve them. The
 * install test installs them.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { filterProblems } from '@arethetypeswrong/core/problems';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { nodeFileTrace } from '@vercel/nft';
import { publint } from 'publint';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PUBLISHED_PLATFORMS } from '../js/convoy/src/server/engine-packages.js';
import { OLDEST_GLIBC } from '../js/convoy/src/server/platforms.js';
import { billFile } from '../scripts/bill-of-materials.mjs';
import { packAll } from '../scripts/pack.mjs';
import { differences, oldestGlibc, packageNameOf, platforms } from '../scripts/platform-packages.mjs';

const run = promisify(execFile);
const repository = path.join(import.meta.dirname, '..');
const MEGABYTE = 1_000_000;

/** The most that a user of the library installs, with Zod, in megabytes and packages. */
const BUDGET = { megabytes: 30, packages: 25 };
/** The part of it that the addon of a platform may take: a release build has 8.6 MB. */
const ADDON_MEGABYTES = 9.5;

let folder;
let packed;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'convoy-packages-'));
  packed = await packAll({ out: folder, withoutAddon: 'manifest only', addon: () => path.join(folder, 'none') });
}, 240_000);
afterAll(() => rm(folder, { recursive: true }));

const tarballOf = (name) => packed.find((each) => each.name === name).file;

async function manifestOf(name) {
  const { stdout } = await run('tar', ['-xOzf', tarballOf(name), 'package/package.json']);
  return JSON.parse(stdout);
}

async function filesOf(name) {
  const { stdout } = await run('tar', ['-tvzf', tarballOf(name)]);
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const [, bytes, file] = /^\S+ \S+\s+(\d+) .*? package\/(.*)$/.exec(line) ?? [];
      return { file, bytes: Number(bytes) };
    });
}

async function billOf(name) {
  const { stdout } = await run('tar', ['-xOzf', tarballOf(name), `package/${billFile}`]);
  return stdout;
}

describe('the bills of materials', () => {
  const libraries = ['@avvos/convoy', '@avvos/convoy-auth', 'create-convoy-app'];
  const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot6);

  test.each([...libraries, ...platforms.map(packageNameOf)])('of %s is valid CycloneDX', async (name) => {
    const text = await billOf(name);
    expect(await validator.validate(text)).toBeNull();
    const { metadata, components, dependencies } = JSON.parse(text);
    const { version } = await manifestOf(name);
    const { group, name: ownName, version: ownVersion } = metadata.component;
    expect(`${group === undefined ? '' : `${group}/`}${ownName}@${ownVersion}`).toBe(`${name}@${version}`);
    const known = new Set([metadata.component, ...components].map((each) => each['bom-ref']));
    expect(known.size).toBe(components.length + 1);
    const referred = dependencies.flatMap(({ ref, dependsOn }) => [ref, ...dependsOn]);
    expect(referred.filter((ref) => !known.has(ref))).toEqual([]);
  });

  test.each(libraries)('of %s has every runtime dependency', async (name) => {
    const { components } = JSON.parse(await billOf(name));
    const { dependencies = {}, optionalDependencies = {} } = await manifestOf(name);
    const listed = components.map(({ group, name }) => (group === undefined ? name : `${group}/${name}`));
    for (const each of Object.keys({ ...dependencies, ...optionalDependencies })) expect(listed).toContain(each);
  });

  test('of an addon has every crate that the engine names, with its checksum', async () => {
    const { components } = JSON.parse(await billOf('@avvos/convoy-linux-x64-gnu'));
    const byName = new Map(components.map((each) => [each.name, each]));
    const manifest = await readFile(path.join(repository, 'crates/convoy/Cargo.toml'), 'utf8');
    const [, section] = /\n\[dependencies\]\n(.*?)\n\n/s.exec(manifest);
    const crates = [...section.matchAll(/^([\w-]+)/gm)].map(([, crate]) => crate);
    expect(crates.length).toBeGreaterThan(20);
    for (const crate of crates) expect(byName.get(crate)?.hashes?.[0].content, crate).toMatch(/^[0-9a-f]{64}$/);
    // Those of tests and of other platforms are not in it.
    for (const other of ['proptest', 'convoy-testkit', 'windows-sys']) expect(byName.has(other)).toBe(false);
  });

  test('control: the validator refuses what is none', async () => {
    const bill = JSON.parse(await billOf('@avvos/convoy'));
    expect(await validator.validate(JSON.stringify({ ...bill, bomFormat: 'x' }))).not.toBeNull();
    expect(await validator.validate(JSON.stringify({ ...bill, components: [{ name: 'x' }] }))).not.toBeNull();
  });
});

describe('the packages of the platforms', () => {
  test('are up to date with scripts/platform-packages.mjs', async () => {
    expect((await differences()).map((each) => each.path)).toEqual([]);
  });

  test('are those that the loader knows, with one glibc', async () => {
    expect(platforms.map(({ tag }) => tag)).toEqual(PUBLISHED_PLATFORMS);
    expect(oldestGlibc).toBe(OLDEST_GLIBC);
  });

  test('are optional dependencies of @avvos/convoy in its version, and come before it', async () => {
    const { version, optionalDependencies } = await manifestOf('@avvos/convoy');
    for (const { tag } of platforms) expect(optionalDependencies[`@avvos/convoy-${tag}`]).toBe(version);
    expect(packed.map(({ name }) => name).slice(0, platforms.length + 1)).toEqual([
      ...platforms.map(packageNameOf),
      '@avvos/convoy',
    ]);
  });

  test('tell package managers where to install them', async () => {
    expect(await manifestOf('@avvos/convoy-linux-arm64-musl')).toMatchObject({
      main: 'convoy.node',
      os: ['linux'],
      cpu: ['arm64'],
      libc: ['musl'],
    });
    expect(await manifestOf('@avvos/convoy-win32-x64-msvc')).toMatchObject({ os: ['win32'], cpu: ['x64'] });
  });
});

describe('@avvos/convoy', () => {
  test('has what it needs to run and no more', async () => {
    const files = (await filesOf('@avvos/convoy')).map(({ file }) => file);
    for (const each of [
      'LICENSE',
      'README.md',
      'bin/convoy.mjs',
      'skills/convoy-functions/SKILL.md',
      'vendor/esbuild/LICENSE.md',
    ]) {
      expect(files).toContain(each);
    }
    expect(files.filter((file) => /\.test|test-kit|\.map$|\.node$|tsbuildinfo|(^|\/)src\//.test(file))).toEqual([]);
    const manifest = await manifestOf('@avvos/convoy');
    expect(manifest).not.toHaveProperty('devDependencies');
    expect(manifest).not.toHaveProperty('scripts');
  });

  test('refers by URL only to its own files, which bundlers include', async () => {
    const names = (await filesOf('@avvos/convoy')).map(({ file }) => file);
    const unpacked = await mkdtemp(path.join(folder, 'unpacked-'));
    await run('tar', ['-xzf', tarballOf('@avvos/convoy'), '-C', unpacked]);
    const referred = [];
    for (const name of names.filter((each) => each.endsWith('.js'))) {
      const text = await readFile(path.join(unpacked, 'package', name), 'utf8');
      for (const [, url] of text.matchAll(/^[^*/]*new URL\('([^']*)', import\.meta\.url\)/gm)) {
        referred.push(path.posix.join(path.posix.dirname(name), url));
      }
    }
    expect(referred).toContain('dist/server/worker-thread.js');
    expect(referred.filter((each) => !names.includes(each))).toEqual([]);
  });

  test('leads tools that copy the files of a server to the engine', async () => {
    const server = await mkdtemp(path.join(folder, 'server-'));
    for (const name of [...platforms.map(packageNameOf), '@avvos/convoy']) {
      const installed = path.join(server, 'node_modules', name);
      await mkdir(installed, { recursive: true });
      await run('tar', ['-xzf', tarballOf(name), '--strip-components=1', '-C', installed]);
    }
    const addons = platforms.map((each) => path.join('node_modules', packageNameOf(each), 'convoy.node'));
    for (const addon of addons) await writeFile(path.join(server, addon), '');
    const entry = path.join(server, 'server.mjs');
    await writeFile(entry, "import '@avvos/convoy/node';\n");
    const { fileList } = await nodeFileTrace([entry], { base: server });
    expect([...fileList]).toEqual(
      expect.arrayContaining([
        ...addons,
        ...platforms.map((each) => path.join('node_modules', packageNameOf(each), 'package.json')),
        'node_modules/@avvos/convoy/package.json',
        'node_modules/@avvos/convoy/dist/server/worker-thread.js',
      ]),
    );
  });

  test('copies esbuild in the version of its binaries', async () => {
    const { version } = JSON.parse(
      await readFile(path.join(repository, 'js/convoy/vendor/esbuild/package.json'), 'utf8'),
    );
    const { optionalDependencies } = await manifestOf('@avvos/convoy');
    const binaries = Object.entries(optionalDependencies).filter(([name]) => name.startsWith('@esbuild/'));
    expect(binaries.map(([name]) => name)).toEqual(
      ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64', 'win32-x64'].map((each) => `@esbuild/${each}`),
    );
    for (const [name, wanted] of binaries) expect(`${name}@${wanted}`).toBe(`${name}@${version}`);
  });

  test(`installs at most ${BUDGET.packages} packages and ${BUDGET.megabytes} MB, none with an install script`, async () => {
    const { packages } = JSON.parse(await readFile(path.join(repository, 'package-lock.json'), 'utf8'));
    const { dependencies, optionalDependencies } = await manifestOf('@avvos/convoy');
    const own = `${process.platform}-${process.arch}`;
    const wanted = [...Object.keys(dependencies), `@esbuild/${own}`, 'zod'];
    expect(Object.keys(optionalDependencies)).toContain(`@esbuild/${own}`);
    const installed = new Set();
    for (const name of wanted) visit(name, packages, installed);
    expect([...installed].filter((name) => packages[`node_modules/${name}`].hasInstallScript)).toEqual([]);

    // With this package, and that of the platform.
    expect(installed.size + 2).toBeLessThanOrEqual(BUDGET.packages);
    const sizes = await Promise.all([...installed].map((name) => sizeOf(path.join(repository, 'node_modules', name))));
    const itself = (await filesOf('@avvos/convoy')).map(({ bytes }) => bytes);
    const bytes = [...sizes, ...itself].reduce((sum, each) => sum + each, 0);
    console.log(`${installed.size + 2} packages, ${(bytes / MEGABYTE).toFixed(1)} MB without the addon`);
    expect(bytes / MEGABYTE + ADDON_MEGABYTES).toBeLessThanOrEqual(BUDGET.megabytes);
  });
});

describe('@avvos/convoy-auth', () => {
  test('has what it needs to run and no more', async () => {
    const files = (await filesOf('@avvos/convoy-auth')).map(({ file }) => file);
    for (const each of ['LICENSE', 'README.md', 'dist/index.js', 'dist/authjs/index.d.ts'])
      expect(files).toContain(each);
    expect(files.filter((file) => /\.test|test-kit|\.map$|tsbuildinfo|(^|\/)src\//.test(file))).toEqual([]);
    const manifest = await manifestOf('@avvos/convoy-auth');
    expect(manifest).not.toHaveProperty('devDependencies');
    expect(manifest.peerDependencies['@avvos/convoy']).toBe(manifest.version);
  });

  test('comes after @avvos/convoy', () => {
    const names = packed.map(({ name }) => name);
    expect(names.indexOf('@avvos/convoy-auth')).toBeGreaterThan(names.indexOf('@avvos/convoy'));
  });
});

describe.each([
  ['@avvos/convoy', './node', 'commander'],
  ['@avvos/convoy-auth', './authjs', 'jose'],
])('%s', (name, entry, dependency) => {
  test('imports only what it depends on', async () => {
    const unpacked = await mkdtemp(path.join(folder, 'unpacked-'));
    await run('tar', ['-xzf', tarballOf(name), '-C', unpacked]);
    const manifest = await manifestOf(name);
    const allowed = [manifest.name, ...Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })];
    const dist = path.join(unpacked, 'package/dist');
    const imported = new Set();
    for (const file of await readdir(dist, { recursive: true })) {
      if (!file.endsWith('.js')) continue;
      const text = await readFile(path.join(dist, file), 'utf8');
      const found = text.matchAll(/^(?:import\s*|(?:import|export)\b[^;'"`]*?\bfrom\s*)['"]([^.'"][^'"]*)['"]/gm);
      for (const [, specifier] of found) imported.add(specifier);
    }
    expect(imported).toContain(dependency);
    const packages = [...imported].filter((each) => !each.startsWith('node:')).map(packageIn);
    expect(packages.filter((each) => !allowed.includes(each))).toEqual([]);
  });

  test('has nothing that publint reports', async () => {
    const data = await readFile(tarballOf(name));
    const tarball = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    const { messages } = await publint({ pack: { tarball }, level: 'suggestion', strict: true });
    expect(messages).toEqual([]);
  });

  test('has types that match what Node and bundlers load, for modules (the profile esm-only of attw)', async () => {
    const analysis = await checkPackage(createPackageFromTarballData(await readFile(tarballOf(name))));
    expect(Object.keys(analysis.entrypoints)).toContain(entry);
    for (const resolutionKind of ['node16-esm', 'bundler']) {
      expect(filterProblems(analysis, { resolutionKind })).toEqual([]);
    }
    // The control: what the profile leaves out is found.
    expect(filterProblems(analysis, { resolutionKind: 'node16-cjs' })).not.toEqual([]);
  });
});

/** `@avvos/convoy/sql` → `@avvos/convoy`. */
function packageIn(specifier) {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

/** Adds a package and what it depends on, as npm installs them here. */
function visit(name, packages, installed) {
  if (installed.has(name)) return;
  installed.add(name);
  for (const each of Object.keys(packages[`node_modules/${name}`].dependencies ?? {})) visit(each, packages, installed);
}

async function sizeOf(at) {
  const entries = await readdir(at, { withFileTypes: true, recursive: true });
  const sizes = entries.filter((each) => each.isFile()).map((each) => stat(path.join(each.parentPath, each.name)));
  return (await Promise.all(sizes)).reduce((sum, { size }) => sum + size, 0);
}
