/**
 * Makes installed Postgres binaries runnable.
 *
 * The packages list the symbolic links of their libraries in `pg-symlinks.json`, because npm packs no links; a
 * post-install script is meant to create them. Convoy does not rely on it: links are created here, in place where that
 * is possible and otherwise in a copy. Any number of processes may do this concurrently.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { isErrno } from '../errno.js';
import type { BinariesPackage } from './installed.js';

/** The paths of the Postgres programs. */
export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
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
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return { postgres: path.join(bin, `postgres${suffix}`), initdb: path.join(bin, `initdb${suffix}`) };
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
