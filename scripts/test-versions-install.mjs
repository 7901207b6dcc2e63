// Installs versions of Postgres and Node below target/versions, by npm: once each.
import { execFile } from 'node:child_process';
import { mkdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isExecutable } from './packages.mjs';
import { run, targetFolder } from './run.mjs';
import { nodePackageFor, nodeVersions, postgresVersions } from './versions.mjs';

const versionsFolder = join(targetFolder, 'versions');

/** Debian's folders of programs, by major version. */
const debianPrograms = { 15: '/usr/lib/postgresql/15/bin' };

/** A folder as seen from which the package with the binaries of this major version is found, and a name with its version. */
export async function installPostgres(major) {
  const { binariesPackageFor } = await import('../js/convoy/dist/cli/postgres/index.js');
  const { currentPlatform } = await import('../js/convoy/dist/server/platforms.js');
  const { name } = binariesPackageFor(currentPlatform());
  const programs = debianPrograms[major];
  if (programs !== undefined && (await isExecutable(join(programs, 'postgres'))))
    return wrapDebian(major, programs, name);
  const version = postgresVersions[major];
  const folder = await install(`postgres-${version}`, `${name}@${version}`);
  return { folder, name: `Postgres ${version.replace(/\.0-.*/, '')}` };
}

/** The program `node` of this major version, and a name with its version. */
export async function installNode(major) {
  const version = nodeVersions[major];
  const name = nodePackageFor(process);
  const folder = await install(`node-${version}`, `${name}@${version}`);
  const program = process.platform === 'win32' ? 'node.exe' : 'node';
  return { program: join(folder, 'node_modules', name, 'bin', program), name: `Node ${version}` };
}

/** Installs a package into a folder of its own; returns the folder. */
async function install(name, specifier) {
  const folder = join(versionsFolder, name);
  const stamp = join(folder, 'convoy-installed');
  if (await isFile(stamp)) return folder;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'package.json'), '{ "private": true }\n');
  const options = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund'];
  await run(`Installing ${specifier}`, 'npm', ['install', ...options, specifier], { cwd: folder });
  await writeFile(stamp, '');
  return folder;
}

/** A package like npm's, of links to Debian's programs. */
async function wrapDebian(major, programs, name) {
  const { stdout } = await promisify(execFile)(join(programs, 'postgres'), ['--version']);
  const version = /\d+\.\d+/.exec(stdout)?.[0] ?? String(major);
  const folder = join(versionsFolder, `postgres-${version}-debian`);
  await rm(folder, { recursive: true, force: true });
  const at = join(folder, 'node_modules', name);
  await mkdir(join(at, 'dist'), { recursive: true });
  await mkdir(join(at, 'native', 'bin'), { recursive: true });
  await writeFile(
    join(at, 'package.json'),
    JSON.stringify({ name, version: `${version}.0-debian`, main: 'dist/index.js' }),
  );
  await writeFile(join(at, 'dist', 'index.js'), '');
  await writeFile(join(at, 'native', 'pg-symlinks.json'), '[]');
  for (const program of ['postgres', 'initdb']) {
    await symlink(await realpath(join(programs, program)), join(at, 'native', 'bin', program));
  }
  return { folder, name: `Postgres ${version} (Debian)` };
}

async function isFile(path) {
  return readFile(path).then(
    () => true,
    () => false,
  );
}
