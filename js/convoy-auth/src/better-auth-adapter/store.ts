/**
 * The operations of Better Auth on the documents of one call. Writes of several steps are transactions: in a mutation they
 * are part of it, in an action each is one, run again on a conflict.
 */

import { cachedReads } from '@avvos/convoy';
import { sql } from '@avvos/convoy/sql';
import type { CleanedWhere, CustomAdapter } from 'better-auth/adapters';
import type { UntypedDb } from './context.js';
import { Documents, type Fields, type Stored } from './documents.js';
import { type IdForm, parseId } from './ids.js';
import { GIVEN_ID, type Layout, type TableLayout } from './layout.js';
import { type Sort, scansOf } from './scans.js';
import type { TokenSeal } from './session-tokens.js';
import { countMatching, type IdSelection, needsSql, selectIds } from './sql-where.js';
import { documentSchema } from './tables.js';
import { layoutOfField, parseWhere, type Where } from './where.js';

/** What the store needs besides the database. */
export interface StoreOptions {
  readonly layout: Layout;
  readonly idForm: IdForm;
  readonly seal: TokenSeal;
}

/** The operations that the adapter of Better Auth calls. */
export type Store = Required<
  Pick<
    CustomAdapter,
    | 'create'
    | 'update'
    | 'updateMany'
    | 'findOne'
    | 'findMany'
    | 'delete'
    | 'deleteMany'
    | 'consumeOne'
    | 'incrementOne'
    | 'count'
  >
>;

/** So many documents are read and written at a time. */
const BATCH = 500;

interface Range {
  readonly sort?: Sort | undefined;
  readonly limit?: number | undefined;
  readonly offset?: number | undefined;
}

/** The operations on the documents of `db`. */
export function createStore(db: UntypedDb, options: StoreOptions): Store {
  const { layout, idForm } = options;
  const documents = new Documents(options);

  const tableOf = (model: string): TableLayout => {
    const table = layout.get(model);
    if (table === undefined) throw new TypeError(`Better Auth asks for the model ${model}, which its options lack.`);
    return table;
  };
  const whereOf = (table: TableLayout, where: readonly CleanedWhere[] = []): Where => parseWhere(table, where, idForm);

  async function find(on: UntypedDb, table: TableLayout, where: Where, range: Range): Promise<Stored[]> {
    const { sort, limit, offset } = range;
    if (needsSql(where)) {
      const ids = await idsBySql(on, { table: table.table, where, form: idForm, sort, limit, offset });
      return (await on.getMany(ids as never[])).filter((each) => each !== null) as Stored[];
    }
    // In createContext the session and its user are kept in memory.
    const scans = scansOf(cachedReads({ db: on }), table, where, sort);
    const [first] = scans;
    if (scans.length === 1 && first !== undefined) {
      const skipped = offset === undefined ? first : first.offset(offset);
      return limit === undefined ? skipped.collect() : skipped.take(limit);
    }
    const end = limit === undefined ? undefined : limit + (offset ?? 0);
    const found = await Promise.all(scans.map((scan) => (end === undefined ? scan.collect() : scan.take(end))));
    return found.flat().slice(offset ?? 0, end);
  }

  async function count(table: TableLayout, where: Where): Promise<number> {
    if (needsSql(where)) {
      const statement = countMatching({ table: table.table, where, form: idForm });
      const [row] = await db.raw<{ count: string }>(statement, { tables: [table.table] });
      return Number(row?.count);
    }
    const counts = await Promise.all(scansOf(db, table, where).map((scan) => scan.count()));
    return counts.reduce((sum, each) => sum + each, 0);
  }

  /** The ids of all matching documents. The documents are read in batches, since only their ids are kept. */
  async function idsOf(on: UntypedDb, table: TableLayout, where: Where): Promise<string[]> {
    if (needsSql(where)) return idsBySql(on, { table: table.table, where, form: idForm });
    const ids: string[] = [];
    for (const scan of scansOf(on, table, where)) for await (const { id } of scan) ids.push(id);
    return ids;
  }

  async function deleteAll(table: TableLayout, where: Where): Promise<number> {
    return db.transaction(async (tx) => {
      let deleted = 0;
      for (;;) {
        const found = await find(tx, table, where, { limit: BATCH });
        const ids = found.map(({ id }) => id);
        if (ids.length > 0) deleted += await tx.deleteMany(table.table, ids as never[]);
        if (ids.length < BATCH) return deleted;
      }
    });
  }

  /** Changes the first matching document. */
  function changeFirst(
    table: TableLayout,
    where: readonly CleanedWhere[],
    changesOf: (document: Stored) => Fields,
  ): Promise<Fields | null> {
    const parsed = whereOf(table, where);
    return db.transaction(async (tx) => {
      const [found] = await find(tx, table, parsed, { limit: 1 });
      if (found === undefined) return null;
      const changed = await tx.patch(table.table, found.id as never, changesOf(found));
      return changed === null ? null : documents.seen(table, changed, where);
    });
  }

  return {
    async create({ model, data }) {
      const table = tableOf(model);
      const { id: given, ...fields } = data as Fields;
      const document = documents.stored(table, fields);
      const created =
        typeof given === 'string'
          ? await insertAs(table, given, document)
          : { id: await db.insert(table.table, document), ...document };
      return { ...documents.seen(table, created, []), ...tokenIn(table, fields) } as never;
    },
    async findOne({ model, where, select }) {
      const table = tableOf(model);
      const [found] = await find(db, table, whereOf(table, where), { limit: 1 });
      return found === undefined ? null : (documents.seen(table, found, where, select) as never);
    },
    async findMany({ model, where = [], limit, select, sortBy, offset }) {
      const table = tableOf(model);
      const sort = sortBy && {
        ...sortBy,
        field: sortBy.field === 'id' ? 'id' : layoutOfField(table, sortBy.field).name,
      };
      const found = await find(db, table, whereOf(table, where), { sort, limit, offset });
      return found.map((each) => documents.seen(table, each, where, select)) as never;
    },
    count: ({ model, where }) => {
      const table = tableOf(model);
      return count(table, whereOf(table, where));
    },
    async update({ model, where, update }) {
      const table = tableOf(model);
      const changes = documents.stored(table, update as Fields);
      return (await changeFirst(table, where, () => changes)) as never;
    },
    updateMany({ model, where, update }) {
      const table = tableOf(model);
      const changes = documents.stored(table, update);
      return db.transaction(async (tx) => {
        const ids = await idsOf(tx, table, whereOf(table, where));
        for (let at = 0; at < ids.length; at += BATCH) {
          const batch = ids.slice(at, at + BATCH);
          await Promise.all(batch.map((id) => tx.patch(table.table, id as never, changes)));
        }
        return ids.length;
      });
    },
    async delete({ model, where }) {
      const table = tableOf(model);
      await deleteAll(table, whereOf(table, where));
    },
    deleteMany({ model, where }) {
      const table = tableOf(model);
      return deleteAll(table, whereOf(table, where));
    },
    consumeOne({ model, where }) {
      const table = tableOf(model);
      const parsed = whereOf(table, where);
      return db.transaction(async (tx) => {
        const [found] = await find(tx, table, parsed, { limit: 1 });
        if (found === undefined || !(await tx.delete(table.table, found.id as never))) return null;
        return documents.seen(table, found, where);
      }) as never;
    },
    async incrementOne({ model, where, increment, set = {} }) {
      const table = tableOf(model);
      const changes = documents.stored(table, set);
      const changed = changeFirst(table, where, (document) => {
        const counted = Object.entries(increment).map(([name, by]) => [name, Number(document[name] ?? 0) + by]);
        return { ...changes, ...Object.fromEntries(counted) };
      });
      return (await changed) as never;
    },
  };

  function tokenIn({ tokenField }: TableLayout, fields: Fields): Fields {
    return tokenField === null ? {} : { [tokenField]: fields[tokenField] };
  }

  /** Inserts a document under an id that Better Auth has given. */
  async function insertAs(table: TableLayout, id: string, document: Fields): Promise<Stored> {
    const parsed = parseId(table.table, id, idForm);
    // `insert` gives ids of its own; like it, this stores what the schema of the table accepts.
    const stored = documentSchema(table).parse(parsed.given === null ? document : { ...document, [GIVEN_ID]: id });
    await db.raw(
      sql`insert into ${sql.identifier(table.table)} (id, data) values (${parsed.uuid}::uuid, ${JSON.stringify(stored)}::jsonb)`,
      { tables: [table.table] },
    );
    return { ...stored, id: parsed.id };
  }

  async function idsBySql(on: UntypedDb, selection: IdSelection): Promise<string[]> {
    const rows = await on.raw<{ id: string }>(selectIds(selection), { tables: [selection.table] });
    return rows.map(({ id }) => id);
  }
}
