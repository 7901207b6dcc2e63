// The Postgres both servers share, and what is in it.
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { startThrowAwayPostgres } from '../../js/convoy/dist/cli/postgres/index.js';

export const CHANNELS = 100;

/** @param {number} n */
export const channelName = (n) => `channel-${n}`;

/**
 * Commits reach the disk, as they would where data matter; and no checkpoint
 * falls into one measurement and not into another.
 */
const settings = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  max_wal_size: '4GB',
  checkpoint_timeout: '1h',
  shared_buffers: '256MB',
};

export class Database {
  #postgres;
  #client;

  static async start() {
    const database = new Database();
    database.#postgres = await startThrowAwayPostgres({ settings });
    database.#client = new pg.Client({ connectionString: database.url });
    await database.#client.connect();
    return database;
  }

  get url() {
    return this.#postgres.url;
  }

  async stop() {
    await this.#client?.end();
    await this.#postgres?.stop();
  }

  /** What the numbers depend on, as the server says it. */
  async describe() {
    const { rows } = await this.#client.query(`
      select name, setting
      from pg_settings
      where name in ('server_version', 'fsync', 'synchronous_commit', 'wal_sync_method')`);
    return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  }

  /**
   * Fills the table Convoy has made, and copies it for Fastify: the same columns,
   * rows and indexes, and none of Convoy's triggers.
   *
   * @param {number} rows
   */
  async fill(rows) {
    // Whole milliseconds, because JavaScript's Date has no finer ones.
    await this.#client.query(
      `
      insert into messages (id, created_at, data)
      select
        uuidv7(),
        date_trunc('milliseconds', now()) - ($1 - n) * interval '1 second',
        jsonb_build_object(
          'channel', 'channel-' || n % $2,
          'author', 'author-' || n % 1000,
          'text', 'message ' || n || ': the quick brown fox jumps over the lazy dog, and over this one too'
        )
      from generate_series(1, $1::int) as n`,
      [rows, CHANNELS],
    );
    await this.#client.query('create schema plain');
    await this.#client.query('create table plain.messages (like messages including all)');
    await this.#client.query('insert into plain.messages select * from messages order by created_at');
    for (const table of ['messages', 'plain.messages']) await this.#client.query(`vacuum analyze ${table}`);
    await this.#client.query('checkpoint');
  }

  /** Processor time of all its processes, in microseconds; `null` where /proc is not there to tell. */
  async cpu() {
    const postmaster = this.#postgres.pid;
    const stats = await allProcesses();
    if (stats === null) return null;
    const ticks = stats
      .filter(({ pid, parent }) => pid === postmaster || parent === postmaster)
      // Of the postmaster also what its ended children used.
      .map(({ pid, own, ended }) => (pid === postmaster ? own + ended : own))
      .reduce((sum, each) => sum + each, 0);
    return (ticks * 1_000_000) / TICKS_PER_SECOND;
  }
}

/** Linux' USER_HZ, fixed for all programs. */
const TICKS_PER_SECOND = 100;

async function allProcesses() {
  if (process.platform !== 'linux') return null;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  // A process may end between the listing and the reading.
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)));
  return texts.filter((text) => text !== null).map(readStat);
}

/** Fields of proc(5) `stat`, counted from behind the name, which may hold anything. */
function readStat(text) {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [user, system, endedUser, endedSystem] = fields.slice(11, 15).map(Number);
  return {
    pid: Number.parseInt(text, 10),
    parent: Number(fields[1]),
    own: user + system,
    ended: endedUser + endedSystem,
  };
}
