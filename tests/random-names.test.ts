/**
 * Random names of tables, fields, indexes and functions. Each is refused, with a sentence that can be printed, or works in
 * each statement; nothing else in the database changes.
 */
import { defineSchema } from '@avvos/convoy';
import { makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterEach, expect, test } from 'vitest';
import { freshDatabaseUrl, serve } from './app.js';
import { ARGUMENTS, schema as named } from './hostile-names.js';
import { failure, serveImprovised } from './improvised.js';
import { anyName } from './model/names.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';
import {
  areFunctions,
  documentOf,
  functionsOf,
  isSchema,
  type Names,
  path,
  randomNames,
  tablesOf,
  type Values,
} from './random-names/program.js';
import { RecordingProxy } from './recording-proxy.js';

/** Names of tables that are defined, with what is in them. */
const DEFINED = LONG ? 20_000 : 1_000;
/** Those of them that are allowed, and are used; `TOGETHER` in one database. */
const USED = LONG ? 1_000 : 16;
const TOGETHER = 8;

const closing: (() => Promise<unknown>)[] = [];
async function closeAll(): Promise<void> {
  for (const close of closing.splice(0).reverse()) await close();
}
afterEach(closeAll);

/** Checks that an error can be printed, and says what to do. */
function expectClear(error: unknown, names: object): void {
  const label = JSON.stringify(names);
  expect(error, label).toBeInstanceOf(Error);
  const { message } = error as Error;
  expect(message, label).toMatch(/^The (schema cannot be loaded[.:]|function ".*" cannot be called: )/);
  expect(message, label).toMatch(/\.$/);
  expect(message.replaceAll('\n  - ', ''), label).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
}

const thrownBy = (define: () => unknown): unknown => {
  try {
    define();
  } catch (error) {
    return error;
  }
};

/** Names that are allowed; checks that others are refused. */
async function allowedNames(random: Random): Promise<Names[]> {
  const allowed: Names[] = [];
  const counts = { allowed: 0, schemas: 0, functions: 0 };
  for (let n = 0; n < DEFINED; n++) {
    const names = randomNames(random, allowed);
    const error = thrownBy(() => defineSchema(tablesOf([names])));
    expect(error === undefined, `${JSON.stringify(names)}: ${error}`).toBe(isSchema(names));
    if (error !== undefined) {
      counts.schemas += 1;
      expectClear(error, names);
    }
    if (!areFunctions(names)) {
      counts.functions += 1;
      const functions = functionsOf([names]) as never;
      const database = { databaseUrl: 'postgres://127.0.0.1:1/none' };
      expectClear(
        await createConvoy({ schema: defineSchema({}), functions, ...database }).catch((thrown) => thrown),
        names,
      );
    } else if (error === undefined) {
      counts.allowed += 1;
      allowed.push(names);
    }
  }
  console.log(`${DEFINED} tables: ${JSON.stringify(counts)}`);
  return allowed;
}

type Relation = readonly [schema: string, name: string];

/** All relations in a database that are neither of Postgres nor indexes, and functions and rights outside of `_convoy`. */
async function contents(psql: pg.Client): Promise<{ relations: Relation[]; others: string[] }> {
  const { rows: relations } = await psql.query(
    `select relnamespace::regnamespace::text as schema, relname as name from pg_class
     where relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
       and relkind <> 'i'`,
  );
  const { rows: others } = await psql.query(
    `with mine as (
       select oid from pg_namespace where nspname not in ('pg_catalog', 'information_schema', 'pg_toast', '_convoy')
     )
     select 'function ' || proname as name from pg_proc where pronamespace in (select oid from mine)
     union all select 'schema ' || nspname from pg_namespace where oid in (select oid from mine)
     union all select 'constraint ' || conname from pg_constraint
       where connamespace in (select oid from mine) and contype not in ('p', 'n')
     union all select 'rights of ' || relname from pg_class where relnamespace in (select oid from mine) and relacl is not null
     order by 1`,
  );
  return { relations: relations.map(({ schema, name }) => [schema, name]), others: others.map(({ name }) => name) };
}

async function connected(databaseUrl: string): Promise<pg.Client> {
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  closing.push(() => psql.end());
  return psql;
}

/** Creates a database with tables of others, of which some have the same names in another schema. */
async function databaseOfOthers(all: readonly Names[]): Promise<string> {
  const databaseUrl = freshDatabaseUrl();
  const admin = await connected(process.env.CONVOY_TEST_DATABASE_URL as string);
  await admin.query(`create database ${new URL(databaseUrl).pathname.slice(1)}`);
  const psql = await connected(databaseUrl);
  await psql.query('create table bystander (n int); insert into bystander values (1); create schema others');
  for (const { physical } of all) {
    const table = `others.${pg.escapeIdentifier(physical)}`;
    await psql.query(`create table ${table} (data jsonb); insert into ${table} values ('{"n":1}')`);
  }
  return databaseUrl;
}

/** Uses the names in one program, in all statements. Postgres gets each statement from `rewrite`. */
async function use(all: readonly Names[], rewrite?: (sql: string) => string): Promise<void> {
  const url = await databaseOfOthers(all);
  const proxy = rewrite === undefined ? null : await RecordingProxy.start(url, rewrite);
  closing.push(async () => proxy?.close());
  const psql = await connected(url);
  const before = await contents(psql);
  const schema = defineSchema(tablesOf(all));
  const app = await serve({ schema, functions: functionsOf(all), databaseUrl: proxy?.url ?? url } as never);
  closing.push(() => app.close());
  for (const names of all) await useTable(app, names);

  const after = await contents(psql);
  const outside = ([schema]: Relation) => schema !== '_convoy';
  const created = all.map(({ physical }): Relation => ['public', physical]);
  expect(new Set(after.relations.filter(outside))).toEqual(new Set([...before.relations, ...created]));
  expect(after.relations.filter(([schema, name]) => schema === '_convoy' && !/^[a-z_\d]+$/.test(name))).toEqual([]);
  expect(after.others).toEqual(before.others);
  expect((await psql.query('select n from bystander')).rows).toEqual([{ n: 1 }]);
  for (const names of all) {
    const table = pg.escapeIdentifier(names.physical);
    const { rows } = await psql.query(`select data from public.${table} union all select data from others.${table}`);
    expect(rows, JSON.stringify(names)).toEqual([{ data: documentOf(names, SECOND) }, { data: { n: 1 } }]);
  }
}

const FIRST = { text: 'a', number: 1, inside: 1 };
/** After a patch to 3 and an increment by one. */
const SECOND = { text: 'b', number: 4, inside: 3 };

/** Inserts a document, changes it and finds it, by calls and by a live query. */
async function useTable({ client }: Awaited<ReturnType<typeof serve>>, names: Names): Promise<void> {
  const label = JSON.stringify(names);
  const add = makeMutationRef<{ document: object }, string>(path(names, names.add));
  const change = makeMutationRef<{ id: string; changes: object }, null>(path(names, names.change));
  const find = makeQueryRef<Values, Record<'byText' | 'byInner' | 'filtered', Record<string, unknown>[]>>(
    path(names, names.find),
  );
  const shown: number[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    const stop = client.watch(find, SECOND, ({ status, data, error }) => {
      if (status === 'error') reject(error);
      if (data === null) return;
      shown.push(data.byText.length);
      if (data.byText.length > 0) resolve(stop());
    });
  });
  const found = async (values: Values): Promise<object[]> => {
    const { byText, byInner, filtered } = await client.query(find, values);
    expect([byInner, filtered], label).toEqual([byText, byText]);
    return byText.map(({ id: _, _creationTime: __, ...fields }) => fields);
  };
  const id = await client.mutation(add, { document: documentOf(names, FIRST) });
  expect(await found(FIRST), label).toEqual([documentOf(names, FIRST)]);
  await client.mutation(change, { id, changes: documentOf(names, { ...SECOND, number: SECOND.number - 1 }) });
  expect(await found(FIRST), label).toEqual([]);
  expect(await found(SECOND), label).toEqual([documentOf(names, SECOND)]);
  await ended;
  expect(shown.at(-1), label).toBe(1);
}

test('a random name is refused clearly, or works and touches nothing else', { timeout: 600_000 }, async () => {
  await withSeeds('random-names', async (seed) => {
    const allowed = await allowedNames(new Random(seed));
    expect(allowed.length).toBeGreaterThan(USED);
    for (let first = 0; first < USED; first += TOGETHER) {
      await use(allowed.slice(first, first + TOGETHER));
      await closeAll();
    }
  });
});

/** How a quoted name is in SQL, and how one that does not double its quotes would be. */
const CARELESS: [what: string, of: keyof Names, (name: string) => [quoted: string, careless: string]][] = [
  ['identifiers', 'physical', (name) => [`"${name.replaceAll('"', '""')}"`, `"${name}"`]],
  ['texts', 'text', (name) => [`'${name.replaceAll("'", "''")}'`, `'${name}'`]],
];

test.each(CARELESS)('control: a server whose %s do not double their quotes is detected', async (_, of, quote) => {
  const random = new Random(controlSeed());
  const isWithout = (names: Names) => quote(names[of])[0] === quote(names[of])[1];
  const pick = async (isFine: (names: Names) => boolean): Promise<Names> => {
    for (;;) {
      const names = randomNames(random, []);
      if (isSchema(names) && areFunctions(names) && !names.text.includes('\\') && isFine(names)) return names;
    }
  };
  const careless = (names: Names) => (sql: string) => sql.replaceAll(...quote(names[of]));
  const plain = await pick(isWithout);
  await use([plain], careless(plain));
  const hostile = await pick((names) => !isWithout(names));
  await expect(use([hostile], careless(hostile))).rejects.toThrow();
});

/** Names that some arguments accept. */
const KNOWN = ['notes', 'people', 'text', 'n', 'name', 'id', '_creationTime', 'by_id', 'by_creation_time', 'by_text'];

test('a random name that is not in the schema is refused in each argument', async () => {
  await withSeeds('random-names-in-arguments', async (seed) => {
    const random = new Random(seed);
    const app = await serveImprovised({ schema: named as never });
    closing.push(() => app.close());
    for (const [argument, call, valid = []] of ARGUMENTS) {
      const names = Array.from({ length: LONG ? 2_000 : 100 }, () => anyName(random));
      const hostile = names.filter((name) => ![...valid, ...KNOWN].includes(name));
      await app.mutation(async ({ db }) => {
        for (const name of hostile) {
          const refused = await failure(Promise.resolve().then(() => call(db, name as never)));
          expect(refused, `${argument}: ${JSON.stringify(name)}`).toMatchObject({ code: 'INVALID_ARGS' });
        }
      });
    }
    expect((await app.psql.query('select from notes union all select from people')).rowCount).toBe(0);
    await closeAll();
  });
});
