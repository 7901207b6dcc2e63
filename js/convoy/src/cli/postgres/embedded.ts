/**
 * The embedded Postgres of one project: starts it, restarts it when it dies, and stops it on request or when this
 * process ends.
 *
 * ```
 *  start ─▶ attempt ─▶ running (owned, or shared with another process of this project)
 *              ▲           │ ended unexpectedly
 *              └─ backoff ─┘                     stop ends every state
 * ```
 *
 * When its owner stops, the processes that share the Postgres notice it, and one of them launches it again on the same
 * port.
 */
import { chmod, chown, mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { prepareBinaries } from './binaries.js';
import { type Cluster, openCluster, savePort, urlOf } from './cluster.js';
import { choosePlacement } from './data-location.js';
import { collectPlacementFacts } from './environment.js';
import type { PostgresEvent } from './events.js';
import { findBinariesPackage } from './installed.js';
import { choosePort } from './ports.js';
import { backoffMs, type Running, type Setup, startOnce } from './start-once.js';

export interface EmbeddedPostgresOptions {
  /** The project's folder for local state, such as `<project>/.convoy`; created if missing. */
  readonly dataRoot: string;
  /** The database in the URL, created together with the cluster. Default `convoy`. */
  readonly database?: string;
  /** False turns fsync off, for data that may be lost. Default true. */
  readonly durable?: boolean;
  /** Further server settings by name, such as `{ max_connections: '300' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly onEvent?: (event: PostgresEvent) => void;
}

export interface EmbeddedPostgres {
  /** The URL for psql and DATABASE_URL, with the password. It stays the same across restarts. */
  readonly url: string;
  readonly port: number;
  /** The postmaster's pid; changes with a restart, and is 0 while there is none. */
  readonly pid: number;
  /** True while another process of this project runs it; `stop` then leaves Postgres running. */
  readonly shared: boolean;
  /** The folder with the data, the log and the state file. */
  readonly folder: string;
  /** A fast shutdown, complete when this resolves. May be called again. */
  stop(): Promise<void>;
}

/** Resolves when Postgres accepts connections. Rejects with an Error whose message tells the developer what to do. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  return startIn(options, 'kept');
}

/**
 * The package with the binaries is found as seen from `installedIn`, by default `dataRoot`, which is in the project.
 *
 * With `deleted`, the contents of `dataRoot`, which must not be shared, are removed when Postgres stops, even if this
 * process is killed.
 */
export async function startIn(
  options: EmbeddedPostgresOptions & { readonly installedIn?: string },
  afterwards: 'kept' | 'deleted',
): Promise<EmbeddedPostgres> {
  const onEvent = options.onEvent ?? (() => {});
  const durable = options.durable ?? true;
  await mkdir(options.dataRoot, { recursive: true });
  // Postgres' user must be able to reach its own folder, which stays closed to other users.
  if (afterwards === 'deleted') await chmod(options.dataRoot, 0o711);
  const dataRoot = await realpath(options.dataRoot);
  const found = await findBinariesPackage(options.installedIn ?? dataRoot);
  const placement = choosePlacement(await collectPlacementFacts(dataRoot, path.join(found.folder, 'native')));
  const { home, runAs, copyTo, mustCopy } = placement;
  const onCopy = (folder: string) => onEvent({ kind: 'copying', folder });
  const binaries = await prepareBinaries(found, { copyTo, mustCopy, onCopy });
  const cluster = await openCluster({
    home,
    runAs,
    binaries,
    major: found.version.split('.')[0] ?? '',
    database: options.database ?? 'convoy',
    durable,
    choosePort: () => choosePort(dataRoot),
    onCreate: (folder) => onEvent({ kind: 'creating', folder }),
  });
  const scratch = afterwards === 'kept' ? null : home.startsWith(dataRoot) ? dataRoot : home;
  // The guardian runs as this user and must own the folder to delete it.
  if (scratch === dataRoot && runAs) await chown(dataRoot, runAs.uid, runAs.gid);
  const supervised = new SupervisedPostgres(cluster, {
    binaries,
    runAs,
    durable,
    settings: options.settings ?? {},
    scratch,
    onEvent,
  });
  await supervised.start();
  return supervised;
}

class SupervisedPostgres implements EmbeddedPostgres {
  readonly #setup: Setup;
  readonly #stopping = new AbortController();
  #cluster: Cluster;
  #running: Running | null = null;
  #supervision: Promise<void> = Promise.resolve();

  constructor(cluster: Cluster, setup: Omit<Setup, 'stopping'>) {
    this.#cluster = cluster;
    this.#setup = { ...setup, stopping: this.#stopping.signal };
  }

  get url(): string {
    return urlOf(this.#cluster.state);
  }

  get port(): number {
    return this.#cluster.state.port;
  }

  get pid(): number {
    return this.#running?.pid ?? 0;
  }

  get shared(): boolean {
    return this.#running?.shared ?? false;
  }

  get folder(): string {
    return this.#cluster.folder;
  }

  /** Another program may take the port between the check and the launch, so that a few ports are tried. */
  async start(): Promise<void> {
    for (let moves = 0; ; moves += 1) {
      const result = await startOnce(this.#cluster, this.#setup);
      if (result.kind === 'running') {
        this.#adopt(result.running);
        this.#supervision = this.#supervise(result.running);
        return;
      }
      if (!result.portInUse || moves === 10) {
        throw new Error(`Postgres did not start: ${result.detail}\nSee its log: ${this.#cluster.log}`);
      }
      await this.#changePort();
    }
  }

  async stop(): Promise<void> {
    const isOwner = this.#running !== null && !this.#running.shared;
    const first = !this.#stopping.signal.aborted;
    if (first && isOwner) this.#setup.onEvent({ kind: 'stopping' });
    this.#stopping.abort();
    this.#running?.release();
    await this.#supervision;
    if (first && isOwner) this.#setup.onEvent({ kind: 'stopped' });
  }

  /** Restarts Postgres whenever it ends; resolves after `stop`, when Postgres has ended. */
  async #supervise(first: Running): Promise<void> {
    for (let running: Running | null = first; running; running = await this.#restart()) {
      if (running !== first) this.#adopt(running);
      const detail = await running.ended;
      this.#running = null;
      if (this.#stopping.signal.aborted) return;
      this.#setup.onEvent({ kind: 'exited', pid: running.pid, shared: running.shared, detail });
    }
  }

  #adopt(running: Running): void {
    this.#running = running;
    this.#setup.onEvent({ kind: 'ready', pid: running.pid, port: this.port, shared: running.shared });
    // `stop` was called while Postgres was starting.
    if (this.#stopping.signal.aborted) running.release();
  }

  /** Retries on the same port, because clients have its URL, until Postgres runs; null if `stop` is called first. */
  async #restart(): Promise<Running | null> {
    const { onEvent, stopping } = this.#setup;
    for (let attempts = 1; ; attempts += 1) {
      const inMs = backoffMs(attempts);
      onEvent({ kind: 'restarting', attempt: attempts, inMs });
      await sleep(inMs, undefined, { signal: stopping }).catch(() => undefined);
      if (stopping.aborted) return null;
      const result = await startOnce(this.#cluster, this.#setup);
      if (result.kind === 'running') return result.running;
      onEvent({ kind: 'restart failed', attempt: attempts, detail: result.detail });
    }
  }

  async #changePort(): Promise<void> {
    const from = this.port;
    const to = await choosePort(this.#cluster.folder);
    this.#setup.onEvent({ kind: 'moved', from, to });
    this.#cluster = await savePort(this.#cluster, to, this.#setup.runAs);
  }
}
