// The Postgres that all contestants share, and its data.
import pg from 'pg';
import { startThrowAwayPostgres } from '../../js/convoy/dist/cli/postgres/index.js';
import { processorTime } from './processor-time.mjs';

export const CHANNELS = 100;

/** The initial balance of every account: rarely insufficient, so that most transfers move money. */
const BALANCE = 10_000;

/** @param {number} n */
export const channelName = (n) => `channel-${n}`;

/** The id of the n-th row as SQL: the rows of every table are numbered from 1. */
export const rowId = (n) => `('${ID_PREFIX}' || lpad(to_hex(${n}), 12, '0'))::uuid`;
const ID_PREFIX = '01900000-0000-7000-8000-';

/** Coprime to the numbers of rows in use, so that the sequence visits every row. */
const STRIDE = 61_803;

/**
 * Commits are flushed to disk, as in production. Checkpoints are avoided, since one of
 * them would slow down single measurements: by its own work, and by the full-page writes
 * after it.
 */
const settings = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  max_wal_size: '16GB',
  checkpoint_timeout: '1h',
  shared_buffers: '512MB',
  // Up to ten servers are connected at once.
  max_connections: '400',
};

export class Database {
  #postgres;
  #client;
  #ids = new Map();

  /** The number of rows in each table. */
  rows = 0;

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

  /** The server version and the settings on which the results depend. */
  async describe() {
    const { rows } = await this.#client.query(`
      select name, setting
      from pg_settings
      where name in ('server_version', 'fsync', 'synchronous_commit', 'wal_sync_method')`);
    return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  }

  /**
   * Fills the tables that Convoy has created, and creates those of the others.
   *
   * @param {number} rows
   * @param {{ schema: string, tables: 'jsonb' | 'relational' }[]} others
   */
  async fill(rows, others) {
    this.rows = rows;
    // Whole milliseconds, the resolution of JavaScript's Date.
    const created = "date_trunc('milliseconds', now()) - ($1 - n) * interval '1 second'";
    await this.#client.query(
      `
      insert into messages (id, created_at, data)
      select ${rowId('n')}, ${created}, jsonb_build_object(
        'channel', 'channel-' || n % $2,
        'author', 'author-' || n % 1000,
        'text', 'message ' || n || ': the quick brown fox jumps over the lazy dog, and over this one too',
        'likes', 0)
      from generate_series(1, $1::int) as n`,
      [rows, CHANNELS],
    );
    await this.#client.query(
      `
      insert into accounts (id, created_at, data)
      select ${rowId('n')}, ${created}, jsonb_build_object('owner', 'owner-' || n, 'balance', $2::int)
      from generate_series(1, $1::int) as n`,
      [rows, BALANCE],
    );
    for (const { schema, tables } of others) {
      await this.#client.query(`create schema ${schema}`);
      if (tables === 'jsonb') await this.#copy(schema);
      else await this.#copyAsColumns(schema);
    }
    for (const { schema } of [{ schema: 'public' }, ...others]) {
      await this.#client.query(`vacuum analyze ${schema}.messages, ${schema}.accounts`);
    }
  }

  /** The same columns and rows, indexes on the same fields, and none of Convoy's triggers. */
  async #copy(schema) {
    for (const table of ['messages', 'accounts']) {
      await this.#client.query(
        `create table ${schema}.${table} (like public.${table} including all excluding indexes)`,
      );
      await this.#client.query(`insert into ${schema}.${table} select * from public.${table} order by created_at`);
    }
    await this.#index(schema);
    // The index that their SQL needs. Convoy's own index also contains the type of a value.
    await this.#client.query(`create index on ${schema}.messages (((data ->> 'channel') collate "C"), created_at, id)`);
  }

  /** The same rows with a column per field. */
  async #copyAsColumns(schema) {
    const times = 'created_at timestamptz not null default now(), updated_at timestamptz not null default now()';
    await this.#client.query(`
      create table ${schema}.messages (
        id uuid not null, ${times}, channel text not null collate "C", author text not null, text text not null,
        likes int not null default 0)`);
    await this.#client.query(`
      insert into ${schema}.messages
      select id, created_at, updated_at, data ->> 'channel', data ->> 'author', data ->> 'text', (data ->> 'likes')::int
      from public.messages
      order by created_at`);
    await this.#client.query(`
      create table ${schema}.accounts (id uuid not null, ${times}, owner text not null, balance int not null)`);
    await this.#client.query(`
      insert into ${schema}.accounts
      select id, created_at, updated_at, data ->> 'owner', (data ->> 'balance')::int
      from public.accounts
      order by created_at`);
    await this.#index(schema);
    await this.#client.query(`create index on ${schema}.messages (channel, created_at, id)`);
  }

  async #index(schema) {
    for (const table of ['messages', 'accounts']) {
      await this.#client.query(`alter table ${schema}.${table} add primary key (id)`);
      await this.#client.query(`create index on ${schema}.${table} (created_at, id)`);
    }
  }

  /**
   * The ids of a table in an order that is independent of their storage location, so that
   * hot ids at the beginning are spread over many pages.
   *
   * @param {'messages' | 'accounts'} table
   */
  ids(table) {
    if (!this.#ids.has(table)) {
      const id = (index) => (1 + ((index * STRIDE) % this.rows)).toString(16).padStart(12, '0');
      this.#ids.set(
        table,
        Array.from({ length: this.rows }, (_, index) => `${table}:${ID_PREFIX}${id(index)}`),
      );
    }
    return this.#ids.get(table);
  }

  /** The sum of all balances, the lowest balance, and the time of the last write. */
  async money({ schema, tables }) {
    const balance = tables === 'relational' ? 'balance' : "(data ->> 'balance')::numeric";
    const { rows } = await this.#client.query(`
      select
        sum(${balance})::text as sum,
        min(${balance})::float8 as lowest,
        max(updated_at)::text as "lastWrite"
      from ${schema}.accounts`);
    return rows[0];
  }

  async likes({ schema, tables }) {
    const likes = tables === 'relational' ? 'likes' : "(data ->> 'likes')::numeric";
    const { rows } = await this.#client.query(`
      select sum(${likes})::float8 as likes
      from ${schema}.messages`);
    return rows[0].likes;
  }

  /** The time of Postgres. */
  async now() {
    const { rows } = await this.#client.query('select clock_timestamp()::text as now');
    return rows[0].now;
  }

  /**
   * The fields of the rows of a contestant that were written after a moment, without ids and times.
   *
   * @param {string} moment
   * @param {{ schema: string, tables: 'jsonb' | 'relational' }} contestant
   * @param {'messages' | 'accounts'} table
   */
  async writtenSince(moment, { schema, tables }, table) {
    const fields = tables === 'relational' ? "to_jsonb(t) - '{id,created_at,updated_at}'::text[]" : 'data';
    const { rows } = await this.#client.query(
      `
      select ${fields} as fields
      from ${schema}.${table} as t
      where updated_at > $1
      order by 1`,
      [moment],
    );
    return rows.map((row) => row.fields);
  }

  /** Runs one statement, for scenarios with separate tables. */
  async run(text, values) {
    const { rows } = await this.#client.query(text, values);
    return rows;
  }

  /** The processor time of all Postgres processes in microseconds; `null` if unknown. */
  cpu() {
    return processorTime(this.#postgres.pid);
  }
}

/**
 * The URL of the same database with `schema` as the search path, and without TLS, so
 * that the proxy can parse the protocol.
 */
export function urlFor(url, schema) {
  const target = new URL(url);
  target.searchParams.set('sslmode', 'disable');
  if (schema !== 'public') target.searchParams.set('options', `-c search_path=${schema}`);
  // libpq does not decode a plus as a space.
  return target.href.replaceAll('+', '%20');
}
