/** A standby of a Postgres: a copy of its files that receives what the original commits, and can take its place. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import pg from 'pg';
import type { EmbeddedPostgres } from '../js/convoy/dist/cli/postgres/index.js';
import { postgresVersion } from './app.js';
import { freePort } from './free-port.js';

const run = promisify(execFile);

/** Runs statements on a connection of its own; resolves to the rows of the last one. */
export async function sqlAt(url: string, ...statements: readonly string[]): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) rows = (await client.query(statement)).rows;
    return rows;
  } finally {
    await client.end();
  }
}

/** Repeats a query until it returns `true`. */
export async function untilTrue(url: string, query: string): Promise<void> {
  while ((await sqlAt(url, `select (${query}) as holds`))[0]?.holds !== true) {}
}

export class Standby {
  readonly url: string;
  readonly #folder: string;
  readonly #server: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(url: string, folder: string, server: ChildProcess) {
    this.url = url;
    this.#folder = folder;
    this.#server = server;
    const { stderr } = server;
    if (stderr === null) throw new Error('The log of the standby is piped.');
    this.#lines = createInterface(stderr)[Symbol.asyncIterator]();
  }

  /** Copies a running server, and starts the copy; its name for the original is `standby`. */
  static async of(primary: EmbeddedPostgres): Promise<Standby> {
    const folder = await mkdtemp(path.join(tmpdir(), 'convoy-standby-'));
    const data = path.join(folder, 'data');
    const original = await copy(primary.url, data);
    const { uid, gid } = await stat(original);
    await run('chown', ['-R', `${uid}:${gid}`, folder]);
    const { username, password, port } = new URL(primary.url);
    const from = `host=127.0.0.1 port=${port} user=${username} password=${password} application_name=standby`;
    await appendFile(path.join(data, 'postgresql.auto.conf'), `primary_conninfo = '${from}'\n`);
    const own = await freePort();
    const settings = [`port=${own}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off'];
    const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])];
    const program = await readlink(`/proc/${primary.pid}/exe`);
    const server = spawn(program, args, { uid, gid, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
    const url = Object.assign(new URL(primary.url), { port: String(own) }).href;
    const standby = new Standby(url, folder, server);
    await standby.#logs('ready to accept read-only connections', 'ready to accept read only connections');
    return standby;
  }

  /** Makes it a primary; resolves when it is. */
  async promote(): Promise<void> {
    await sqlAt(this.url, 'select pg_promote(wait => false)');
    await this.#logs('ready to accept connections');
    // The log must not fill the pipe.
    this.#server.stderr?.resume();
  }

  async stop(): Promise<void> {
    const ended = once(this.#server, 'exit');
    this.#server.stderr?.resume();
    this.#server.kill('SIGINT');
    await ended;
    await rm(this.#folder, { recursive: true });
  }

  async #logs(...texts: readonly string[]): Promise<void> {
    const before: string[] = [];
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`The standby has ended:\n${before.join('\n')}`);
      if (texts.some((text) => value.includes(text))) return;
      before.push(value);
    }
  }
}

/** Copies the files of a running server, as a base backup; resolves to its folder. */
async function copy(url: string, data: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const isOld = (await postgresVersion(client)) < 15;
    const { rows: shown } = await client.query<{ data_directory: string }>('show data_directory');
    const original = shown[0]?.data_directory ?? '';
    await client.query(
      isOld ? `select pg_start_backup('standby', true, false)` : `select pg_backup_start('standby', true)`,
    );
    await run('cp', ['-a', original, data]);
    const stop = isOld ? 'pg_stop_backup(false, false)' : 'pg_backup_stop(false)';
    const { rows } = await client.query<{ labelfile: string }>(`select labelfile from ${stop}`);
    await writeFile(path.join(data, 'backup_label'), rows[0]?.labelfile ?? '');
    await writeFile(path.join(data, 'standby.signal'), '');
    await rm(path.join(data, 'postmaster.pid'));
    return original;
  } finally {
    await client.end();
  }
}
