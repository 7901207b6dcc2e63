/** Names reach Postgres in quotes only, and refused ones not at all: by the log of a Postgres that logs all statements. */
import { defineSchema, defineTable } from '@avvos/convoy';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { ARGUMENTS, schema as named } from './hostile-names.js';
import { failure, serveImprovised } from './improvised.js';
import { loggedStatements, outsideOfQuotes } from './logged-statements.js';
import { startOwnPostgres } from './own-postgres.js';

/** A word in each name, by which it is found. */
const CANARY = 'qanary';
/** Fields that an app may have. */
const FIELDS = [
  ...[`it's ${CANARY}`, `say "${CANARY}"`, `\\${CANARY}`, `\\'${CANARY}`, `${CANARY}'); drop table notes; --`],
  ...[
    `"; drop table notes; -- ${CANARY}`,
    `$$${CANARY}$$`,
    `${CANARY} /*`,
    `*/ ${CANARY}`,
    `$1 ${CANARY}`,
    `{${CANARY}}`,
  ],
];
const REFUSED = 'refuzed';
const REFUSED_NAMES = [
  `'; select ${REFUSED}; --`,
  `"; select ${REFUSED}; --`,
  `\\'${REFUSED}`,
  `$$${REFUSED}$$`,
  REFUSED,
];

const odd = FIELDS.reduce(
  (table, field, at) => table.index(`by_${at}`, [field as never]) as never,
  defineTable(Object.fromEntries(FIELDS.map((field) => [field, z.number()]))),
);
const schema = defineSchema({ ...named.tables, odd } as never);

let postgres: Awaited<ReturnType<typeof startOwnPostgres>>;
let app: Awaited<ReturnType<typeof serveImprovised>>;
beforeAll(async () => {
  postgres = await startOwnPostgres({ settings: { log_statement: 'all' } });
  app = await serveImprovised({ schema: schema as never, databaseUrl: postgres.url });
});
afterAll(async () => {
  await app.close();
  await postgres.stop();
});

/** The logged statements that have the word outside of quotes. */
const unquoted = async (word: string): Promise<string[]> => {
  const statements = await loggedStatements(app.psql);
  return statements.filter((statement) => outsideOfQuotes(statement).includes(word));
};

test('names of fields are in quotes, in each statement', async () => {
  const given = Object.fromEntries(FIELDS.map((field, at) => [field, at]));
  for (const call of [app.mutation, app.nonTransactional] as (typeof app.mutation)[]) {
    await call(async ({ db }) => {
      const table = 'odd' as never;
      const id = (await db.insert(table, given as never)) as never;
      await db.insertMany(table, [given, given] as never);
      for (const [at, field] of FIELDS.entries()) {
        const name = field as never;
        await db.patch(id, { [field]: at + 1 } as never);
        await db.increment(id, name, -1);
        const query = db.query(table);
        expect(await query.filter((q) => q.eq(q.field(name), at as never)).count()).toBeGreaterThan(2);
        const byIndex = query.withIndex(`by_${at}` as never, (q) => (q as never as typeof q).gte(name, at as never));
        expect((await byIndex.order('desc').paginate({ cursor: null, numItems: 1 })).page).toHaveLength(1);
        expect(await query.order('asc', name).first()).toMatchObject({ [field]: at });
      }
      expect(await db.get(id)).toMatchObject(given);
      await db.replace(id, given as never);
    });
  }
  const statements = await loggedStatements(app.psql);
  for (const field of FIELDS) {
    const word = field.replaceAll("'", "''").replaceAll('\\', '\\\\');
    expect(
      statements.some((statement) => statement.includes(word) || statement.includes(field)),
      field,
    ).toBe(true);
  }
  expect(await unquoted(CANARY)).toEqual([]);
});

test('refused names are in no statement', async () => {
  for (const [argument, call] of ARGUMENTS) {
    for (const name of REFUSED_NAMES) {
      const refused = await app.mutation(({ db }) => failure(Promise.resolve().then(() => call(db, name as never))));
      expect(refused, `${argument}: ${name}`).toMatchObject({ code: 'INVALID_ARGS' });
    }
  }
  const statements = await loggedStatements(app.psql);
  expect(statements.filter((statement) => statement.includes(REFUSED))).toEqual([]);
});

test('control: a name that is put into a statement without care is found', async () => {
  for (const [at, name] of [`it's loose_0 --'`, `say "loose_1`, 'loose_2'].entries()) {
    // As code would that does not quote, or quotes as for another place.
    const statement = [`select '${name}'`, `select 1 as "${name}"`, `select 1 as ${name}`][at] as string;
    await app.psql.query(statement).catch(() => null);
    expect(await unquoted(`loose_${at}`), name).toEqual([statement]);
  }
});
