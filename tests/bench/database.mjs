// The Postgres all contestants share, and what is in it.
import pg from 'pg';
import { startThrowAwayPostgres } from '../../js/convoy/dist/cli/postgres/index.js';
import { processorTime } from './processor-time.mjs';

export const CHANNELS = 100;

/** What every account begins with: seldom too little, so that most transfers move money. */
const BALANCE = 10_000;

/** @param {number} n */
export const channelName = (n) => `channel-${n}`;

/** The n-th row's id as SQL: every table's rows are numbered from 1 on. */
export const rowId = (n) => `('${ID_PREFIX}' || lpad(to_hex(${n}), 12, '0'))::uuid`;
const ID_PREFIX = '01900000-0000-7000-8000-';

/** Has no factor in common with the numbers of rows we take, so that it reaches all of them. */
const STRIDE = 61_803;

/**
 * Commits reach the disk, as they would where data matter; and no checkpoint
 * falls into one measurement and not into another: neither its own work nor the
 * first writes to pages after it, which cost more than later ones.
 */
const settings = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  max_wal_size: '16GB',
  checkpoint_timeout: '1h',
  shared_buffers: '512MB',
  // Ten servers may be connected at once.
  max_connections: '400',
};

export class Database {
  #postgres;
  #client;
  #ids = new Map();

  /** Rows each table was filled with. */
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

  /** What the numbers depend on, as the server says it. */
  async describe() {
    const { rows } = await this.#client.query(`
      select name, setting
      from pg_settings
      where name in ('server_version', 'fsync', 'synchronous_commit', 'wal_sync_method')`);
    return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  }

  /**
   * Fills the tables Convoy has made, and makes those of the others.
   *
   * @param {number} rows
   * @param {{ schema: string, tables: 'jsonb' | 'relational' }[]} others
   */
  async fill(rows, others) {
    this.rows = rows;
    // Whole milliseconds, because JavaScript's Date has no finer ones.
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
    // The index their SQL asks for. Convoy's own looks at the type of a value as well.
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
   * The ids of a table's first rows, in an order that has nothing to do with where
   * they are stored: favouring the first of them favours no page.
   *
   * @param {'messages' | 'accounts'} table
   */
  ids(table) {
    if (!this.#ids.has(table)) {
      const id = (place) => (1 + ((place * STRIDE) % this.rows)).toString(16).padStart(12, '0');
      this.#ids.set(
        table,
        Array.from({ length: this.rows }, (_, place) => `${table}:${ID_PREFIX}${id(place)}`),
      );
    }
    return this.#ids.get(table);
  }

  /** All balances together, the lowest of them, and when the last was written. */
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

  /** One statement, for those who bring tables of their own. */
  async run(text, values) {
    const { rows } = await this.#client.query(text, values);
    return rows;
  }

  /** Processor time of all its processes, in microseconds; `null` where it is not known. */
  cpu() {
    return processorTime(this.#postgres.pid);
  }
}

/**
 * The same database where `schema` is where tables are looked for, without TLS, so
 * that a wire can be read.
 */
export function urlFor(url, schema) {
  const there = new URL(url);
  there.searchParams.set('sslmode', 'disable');
  if (schema !== 'public') there.searchParams.set('options', `-c search_path=${schema}`);
  // libpq does not take a plus for a space.
  return there.href.replaceAll('+', '%20');
}
