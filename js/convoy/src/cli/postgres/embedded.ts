/**
 * The embedded Postgres of one project: started when asked, started again when it dies, stopped when asked or when we
 * are gone.
 *
 * ```
 *  start ─▶ attempt ─▶ running (owned, or shared with another process of this project)
 *              ▲           │ ended unasked
 *              └─ backoff ─┘                     stop ends every state
 * ```
 *
 * When an owner leaves, those who shared its Postgres notice, and one of them launches it again on the same port.
 */
import { chmod, chown, mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findBinariesPackage, prepareBinaries } from './binaries.js';
import { type Cluster, openCluster, rememberPort, urlOf } from './cluster.js';
import { choosePlacement } from './data-location.js';
import { lookAround } from './environment.js';
import type { PostgresEvent } from './events.js';
import { choosePort } from './ports.js';
import { attempt, backoffMs, type Running, type Setup } from './start-once.js';

export interface EmbeddedPostgresOptions {
  /** The project's folder for local state, such as `<project>/.convoy`; made when missing. */
  readonly dataRoot: string;
  /** The database in the URL, made together with the cluster. Default `convoy`. */
  readonly database?: string;
  /** False turns fsync off: for data nobody will miss. Default true. */
  readonly durable?: boolean;
  /** Further server settings by name, such as `{ max_connections: '300' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly onEvent?: (event: PostgresEvent) => void;
}

export interface EmbeddedPostgres {
  /** Stays the same through restarts; fit for psql and DATABASE_URL. Holds the password. */
  readonly url: string;
  readonly port: number;
  /** The postmaster's pid; changes with a restart, and is 0 while there is none. */
  readonly pid: number;
  /** True while another process of this project runs it; stopping leaves that one alone. */
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
 * `deleted`: everything in `dataRoot`, which must be ours alone, goes when Postgres stops, even if we are killed.
 */
export async function startIn(
  options: EmbeddedPostgresOptions,
  afterwards: 'kept' | 'deleted',
): Promise<EmbeddedPostgres> {
  const tell = options.onEvent ?? (() => {});
  const durable = options.durable ?? true;
  await mkdir(options.dataRoot, { recursive: true });
  // Postgres' user has to get through to its own folder, which stays closed to everyone else.
  if (afterwards === 'deleted') await chmod(options.dataRoot, 0o711);
  const dataRoot = await realpath(options.dataRoot);
  const found = await findBinariesPackage();
  const placement = choosePlacement(await lookAround(dataRoot, path.join(found.folder, 'native')));
  const { home, runAs, copyTo, mustCopy } = placement;
  const onCopy = (folder: string) => tell({ kind: 'copying', folder });
  const binaries = await prepareBinaries(found, { copyTo, mustCopy, onCopy });
  const cluster = await openCluster({
    home,
    runAs,
    binaries,
    major: found.version.split('.')[0] ?? '',
    database: options.database ?? 'convoy',
    durable,
    choosePort: () => choosePort(dataRoot),
    onCreate: (folder) => tell({ kind: 'creating', folder }),
  });
  const scratch = afterwards === 'kept' ? null : home.startsWith(dataRoot) ? dataRoot : home;
  // To delete a folder one must own it.
  if (scratch === dataRoot && runAs) await chown(dataRoot, runAs.uid, runAs.gid);
  const supervised = new SupervisedPostgres(cluster, {
    binaries,
    runAs,
    durable,
    settings: options.settings ?? {},
    scratch,
    tell,
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

  async start(): Promise<void> {
    for (let moves = 0; ; moves += 1) {
      const outcome = await attempt(this.#cluster, this.#setup);
      if (outcome.kind === 'running') {
        this.#adopt(outcome.running);
        this.#supervision = this.#supervise(outcome.running);
        return;
      }
      if (!outcome.portInUse || moves === 10) {
        throw new Error(`Postgres did not start: ${outcome.detail}\nIts log is ${this.#cluster.log}`);
      }
      await this.#move();
    }
  }

  async stop(): Promise<void> {
    const ours = this.#running !== null && !this.#running.shared;
    const first = !this.#stopping.signal.aborted;
    if (first && ours) this.#setup.tell({ kind: 'stopping' });
    this.#stopping.abort();
    this.#running?.release();
    await this.#supervision;
    if (first && ours) this.#setup.tell({ kind: 'stopped' });
  }

  /** Ends only when we are to stop and nothing of ours runs any more. */
  async #supervise(first: Running): Promise<void> {
    for (let running: Running | null = first; running; running = await this.#again()) {
      if (running !== first) this.#adopt(running);
      const detail = await running.ended;
      this.#running = null;
      if (this.#stopping.signal.aborted) return;
      this.#setup.tell({ kind: 'exited', pid: running.pid, shared: running.shared, detail });
    }
  }

  #adopt(running: Running): void {
    this.#running = running;
    this.#setup.tell({ kind: 'ready', pid: running.pid, port: this.port, shared: running.shared });
    // We were told to stop while it was starting.
    if (this.#stopping.signal.aborted) running.release();
  }

  /** Tries until it runs, on the same port, because others hold its URL; null when we are to stop first. */
  async #again(): Promise<Running | null> {
    const { tell, stopping } = this.#setup;
    for (let attempts = 1; ; attempts += 1) {
      const inMs = backoffMs(attempts);
      tell({ kind: 'restarting', attempt: attempts, inMs });
      await sleep(inMs, undefined, { signal: stopping }).catch(() => undefined);
      if (stopping.aborted) return null;
      const outcome = await attempt(this.#cluster, this.#setup);
      if (outcome.kind === 'running') return outcome.running;
      tell({ kind: 'restart failed', attempt: attempts, detail: outcome.detail });
    }
  }

  async #move(): Promise<void> {
    const from = this.port;
    const to = await choosePort(this.#cluster.folder);
    this.#setup.tell({ kind: 'moved', from, to });
    this.#cluster = await rememberPort(this.#cluster, to, this.#setup.runAs);
  }
}
