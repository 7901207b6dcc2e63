/**
 * A cluster on disk: Postgres' data folder and the file with its port and password, created together.
 *
 * A cluster is complete or absent: it is created under another name and renamed. Two processes that start at once
 * therefore agree on one, and a process that is killed half-way leaves no partial cluster.
 */
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isErrno } from '../errno.js';
import type { Binaries } from './binaries.js';
import type { SystemUser } from './data-location.js';
import { databaseUrlHint, wrapperPackage } from './installed.js';
import { isAlive } from './processes.js';
import { runProgram } from './run-as.js';

/** The state kept between starts. Its file is readable only for its owner, since it contains the password. */
export interface ClusterState {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

export interface Cluster {
  readonly folder: string;
  /** Postgres' data folder, as a real path. */
  readonly data: string;
  readonly log: string;
  readonly state: ClusterState;
}

export interface OpenCluster {
  /** Created if missing; owned by `runAs` from then on. */
  readonly home: string;
  readonly runAs: SystemUser | null;
  readonly binaries: Binaries;
  /** Postgres' major version, as in `18`. */
  readonly major: string;
  readonly database: string;
  readonly durable: boolean;
  /** The port for a new cluster. */
  readonly choosePort: () => Promise<number>;
  readonly onCreate?: (folder: string) => void;
}

const superuser = 'convoy';

/** Opens the cluster, and creates it if it is missing. */
export async function openCluster(options: OpenCluster): Promise<Cluster> {
  const home = await createHome(options.home, options.runAs);
  const folder = path.join(home, 'cluster');
  if ((await readState(folder)) === null) {
    options.onCreate?.(folder);
    await createCluster(home, folder, options);
  }
  const state = await readState(folder);
  if (state === null) throw new Error(`The database cluster in ${folder} disappeared while it was being opened.`);
  await checkVersion(folder, options.major);
  if (state.database !== options.database) {
    throw new Error(
      `The embedded Postgres in ${folder} holds the database "${state.database}", not "${options.database}".`,
    );
  }
  return { folder, data: path.join(folder, 'data'), log: path.join(folder, 'postgres.log'), state };
}

/** The URL for psql, drivers and DATABASE_URL. */
export function urlOf({ user, password, port, database }: ClusterState): string {
  return `postgres://${user}:${password}@127.0.0.1:${port}/${database}`;
}

/** Stores another port for the next start. */
export async function savePort(cluster: Cluster, port: number, runAs: SystemUser | null): Promise<Cluster> {
  const state = { ...cluster.state, port };
  await writeState(cluster.folder, state, runAs);
  return { ...cluster, state };
}

/** Creates the home folder, owned by the user that runs Postgres. */
async function createHome(home: string, runAs: SystemUser | null): Promise<string> {
  try {
    const created = await mkdir(path.dirname(home), { recursive: true });
    // With a strict umask of root, Postgres' user could not enter the folders that root creates.
    if (created !== undefined && runAs) await chmod(path.dirname(home), 0o755);
    await mkdir(home, { recursive: true });
    if (runAs) await chown(home, runAs.uid, runAs.gid);
    await chmod(home, 0o700);
    await removeAbandonedDrafts(home);
    return await realpath(home);
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM', 'EROFS')) throw error;
    throw new Error(
      `The embedded Postgres cannot use the folder ${home} (${error.code}). If another user ran convoy here, ` +
        `run it as that user or delete the folder. ${databaseUrlHint}`,
      { cause: error },
    );
  }
}

const draftName = /^cluster\.new-(\d+)-/;

/** Removes drafts of dead processes. The name of a draft contains the pid of the process that creates it. */
async function removeAbandonedDrafts(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    const pid = draftName.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(path.join(home, name), { recursive: true, force: true });
  }
}

async function createCluster(home: string, folder: string, options: OpenCluster): Promise<void> {
  const { runAs, database } = options;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(database)) {
    throw new Error(`"${database}" cannot be the embedded database's name: use lower-case letters, digits and _.`);
  }
  const draft = path.join(home, `cluster.new-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    const state: ClusterState = {
      port: await options.choosePort(),
      user: superuser,
      password: randomBytes(18).toString('base64url'),
      database,
    };
    await mkdir(draft, { mode: 0o700 });
    if (runAs) await chown(draft, runAs.uid, runAs.gid);
    await initialize(draft, state.password, options);
    await writeState(draft, state, runAs);
    await rename(draft, folder);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Another process has created the cluster first; its state file has the URL.
    if (isErrno(error, 'EEXIST', 'ENOTEMPTY')) return;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`The embedded Postgres could not create a database cluster. ${databaseUrlHint}\n${reason}`, {
      cause: error,
    });
  }
}

/**
 * A locale that sorts by code point on every system and needs none of the system's. The builtin one also knows the case of
 * all letters. Postgres 16 and earlier do not have it; with theirs, `upper` and `lower` change ASCII letters only.
 */
export function localeOptions(major: number): string[] {
  const plain = ['--encoding=UTF8', '--locale=C'];
  return major >= 17 ? [...plain, '--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : plain;
}

async function initialize(draft: string, password: string, options: OpenCluster): Promise<void> {
  const { runAs, binaries, major, database, durable } = options;
  const data = path.join(draft, 'data');
  const passwordFile = path.join(draft, 'password');
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (runAs) await chown(passwordFile, runAs.uid, runAs.gid);
  const args = [`--pgdata=${data}`, `--username=${superuser}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
  await runProgram(
    binaries.initdb,
    [...args, ...localeOptions(Number(major)), ...(durable ? [] : ['--no-sync'])],
    runAs,
  );
  await rm(passwordFile);
  if (database === 'postgres') return;
  // Single-user mode takes SQL from standard input, which saves starting the server twice.
  const single = ['--single', '-j', '-D', data, '-c', 'exit_on_error=on', ...(durable ? [] : ['-c', 'fsync=off'])];
  await runProgram(binaries.postgres, [...single, 'postgres'], runAs, `create database "${database}"`);
}

async function checkVersion(folder: string, major: string): Promise<void> {
  const found = (await readFile(path.join(folder, 'data', 'PG_VERSION'), 'utf8')).trim();
  if (found === major) return;
  throw new Error(
    `The data in ${folder} was created by Postgres ${found}, and the installed ${wrapperPackage} has Postgres ${major}. ` +
      `To keep the data, install a ${wrapperPackage} of version ${found}, and export them with \`convoy export\`; or ` +
      'delete the folder to start empty.',
  );
}

const stateFile = 'state.json';

async function readState(folder: string): Promise<ClusterState | null> {
  try {
    return JSON.parse(await readFile(path.join(folder, stateFile), 'utf8')) as ClusterState;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null;
    throw error;
  }
}

async function writeState(folder: string, state: ClusterState, runAs: SystemUser | null): Promise<void> {
  const draft = path.join(folder, `${stateFile}.${randomBytes(4).toString('hex')}`);
  await writeFile(draft, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  if (runAs) await chown(draft, runAs.uid, runAs.gid);
  await rename(draft, path.join(folder, stateFile));
}
