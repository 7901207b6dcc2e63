/**
 * The function that compares stored documents with the schema. It is an internal action added to every program, so it runs
 * where the schema is loaded; each call checks a few documents, so that it does not block the thread.
 *
 * It reads by `raw`, because it must also see documents that `ctx.db` cannot read.
 */

import { createHash } from 'node:crypto';
import * as z from 'zod';
import { sql } from '../sql/index.js';
import { formatId } from '../values/ids.js';
import { type CallDatabase, lossyOf } from './call-database.js';
import type { Document } from './documents.js';
import { type AnyConvoyFunction, internalAction } from './functions.js';
import type { LossyValues } from './lossy-values.js';
import type { FunctionDescription } from './native.js';
import type { Table } from './program.js';

/** The name of the function. No user function can have it, since no key of a module contains a colon and spaces. */
export const CHECK_NAME = 'convoy: stored documents';

/** Up to this many documents of a table are all checked; of a larger table, a random sample of this size. */
export const SAMPLE_SIZE = 10_000;

/** The documents of a table to check, and the identity of its schema. */
export interface TableSample {
  /** A hash of the schema; the same as long as documents are checked in the same way. */
  readonly schema: string;
  /** Bare uuids. */
  readonly ids: readonly string[];
  /** False if the table has more documents than these. */
  readonly isWhole: boolean;
}

/** One kind of problem found in documents. */
export interface Misfit {
  /** The field, such as `items[].name` within lists; empty for the document as a whole. */
  readonly path: string;
  readonly message: string;
  readonly count: number;
  /** The id of one such document. */
  readonly example: string;
}

/** The result of checking some documents. */
export interface CheckResult {
  readonly documents: number;
  /** The number of documents that do not fit the schema. */
  readonly unfit: number;
  readonly misfits: readonly Misfit[];
  /** Fields of unfit documents that are not in the schema. */
  readonly unknown: readonly string[];
  /** Fields of fitting documents that are not in the schema. */
  readonly forgotten: readonly Misfit[];
  /** Fields of the schema that are missing in all documents with `forgotten` fields. */
  readonly absent: readonly string[];
  /** Values JavaScript cannot represent: numbers that no double equals, and nesting deeper than Convoy allows. */
  readonly odd: readonly Misfit[];
}

/** The arguments of the function: without `ids` it returns a `TableSample`, with them a `CheckResult`. */
export interface CheckArguments {
  readonly table: string;
  /** The `schema` of the last sample; while it is unchanged, no ids are returned. */
  readonly known?: string | undefined;
  readonly ids?: readonly string[];
}

/** The description of the function, for the engine. */
export const CHECK_DESCRIPTION: FunctionDescription = {
  name: CHECK_NAME,
  kind: 'action',
  internal: true,
  share: true,
  transaction: true,
};

/** Creates the function for a program with these tables. */
export function documentCheck(tables: ReadonlyMap<string, Table>): AnyConvoyFunction {
  return internalAction({
    input: z.object({ table: z.string(), known: z.string().optional(), ids: z.array(z.string()).optional() }),
    handler: ({ db }, { table: name, known, ids }): Promise<TableSample | CheckResult> => {
      const table = tables.get(name);
      if (table === undefined) throw new Error(`There is no table ${name}.`);
      // The implementation class, because there is no data model here.
      const database = (db as unknown as CallDatabase).system;
      return ids === undefined ? sampleOf(database, table, known) : check(database, table, ids);
    },
  });
}

async function sampleOf(db: CallDatabase, { definition, name }: Table, known?: string): Promise<TableSample> {
  const schema = schemaName(definition.schema);
  if (schema === known) return { schema, ids: [], isWhole: true };
  const physical = sql.identifier(definition.name ?? name);
  const first = await idsOf(db, sql`select id from ${physical} limit ${SAMPLE_SIZE + 1}`);
  if (first.length <= SAMPLE_SIZE) return { schema, ids: first, isWhole: true };
  // Samples three times as many rows as needed, since blocks differ in their number of rows, and picks from these at
  // random. For a table without statistics, four rows per block are assumed.
  const [size] = (await db.raw(sql`
    select least(100, 300 * ${SAMPLE_SIZE} / greatest(${SAMPLE_SIZE}, case when reltuples > 0 then reltuples
      else pg_relation_size(oid) / 8192 * 4 end))::float8 as percent
    from pg_class where oid = to_regclass(quote_ident(${definition.name ?? name}))`)) as { percent: number }[];
  const percent = sql.raw(String(Number(size?.percent ?? 100)));
  const ids = await idsOf(
    db,
    sql`select id from (select id from ${physical} tablesample system (${percent})) as sampled order by random() limit ${SAMPLE_SIZE}`,
  );
  return { schema, ids: ids.length === 0 ? first.slice(0, SAMPLE_SIZE) : ids, isWhole: false };
}

/** The ids selected by `statement`, in one row, so that they do not count against `maxDocumentsRead`. */
async function idsOf(db: CallDatabase, statement: ReturnType<typeof sql>): Promise<string[]> {
  const [row] = (await db.raw(sql`select coalesce(json_agg(id), '[]') as ids from (${statement}) as found`)) as {
    ids: string[];
  }[];
  return row?.ids ?? [];
}

async function check(db: CallDatabase, table: Table, ids: readonly string[]): Promise<CheckResult> {
  const physical = sql.identifier(table.definition.name ?? table.name);
  const rows = (await db.raw(sql`
    select id, data from ${physical}
    where id in (select value::uuid from json_array_elements_text(${JSON.stringify(ids)}::json))`)) as {
    id: string;
    data: unknown;
  }[];
  const found = new Findings(table);
  for (const { id, data } of rows) found.add(formatId(table.name, id), data, lossyOf(db));
  return found.checked;
}

type Counted = Map<string, { path: string; message: string; count: number; example: string }>;

function count(counted: Counted, path: string, message: string, example: string): void {
  const key = `${path}\n${message}`;
  const misfit = counted.get(key) ?? { path, message, count: 0, example };
  misfit.count++;
  counted.set(key, misfit);
}

/** Collects the problems of the documents of a table. */
export class Findings {
  readonly #table: Table;
  readonly #misfits: Counted = new Map();
  readonly #odd: Counted = new Map();
  readonly #unknown = new Set<string>();
  readonly #forgotten: Counted = new Map();
  readonly #absent: Set<string>;
  #documents = 0;
  #unfit = 0;

  constructor(table: Table) {
    this.#table = table;
    // In a union, a document lacks the fields of the other options.
    const isUnion = (table.definition.schema._zod as { def: z.core.$ZodTypeDef }).def.type === 'union';
    this.#absent = new Set(isUnion ? [] : knownKeys(table.definition.schema));
  }

  get checked(): CheckResult {
    const [misfits, odd] = [[...this.#misfits.values()], [...this.#odd.values()]];
    const [unknown, forgotten] = [[...this.#unknown].sort(), [...this.#forgotten.values()]];
    const absent = [...this.#absent];
    return { documents: this.#documents, unfit: this.#unfit, misfits, unknown, forgotten, absent, odd };
  }

  add(id: string, data: unknown, lossy: LossyValues | null): void {
    this.#documents++;
    for (const [path, message] of lossy?.describe(data) ?? []) count(this.#odd, pathOf(path), message, id);
    const problems = problemsOf(this.#table, data);
    const unknown = unknownKeys(this.#table, data);
    if (problems.size === 0) {
      for (const key of unknown) count(this.#forgotten, key, 'is not in the schema', id);
      if (unknown.length > 0) for (const key of Object.keys(data as object)) this.#absent.delete(key);
      return;
    }
    this.#unfit++;
    for (const [path, message] of problems) count(this.#misfits, path, message, id);
    for (const key of unknown) this.#unknown.add(key);
  }
}

/** The problems of a stored document, by path, after filling in defaults; empty if it fits. */
export function problemsOf(table: Table, data: unknown): Map<string, string> {
  const problems = new Map<string, string>();
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    return problems.set('', 'the stored value is not an object, so it cannot be read');
  }
  const document = ownFields(table, data as Document);
  table.fill?.(document);
  let parsed: ReturnType<typeof z.safeParse>;
  try {
    parsed = z.safeParse(table.definition.schema, document);
  } catch (error) {
    // A refinement may throw on documents of an older schema. Other documents are still checked.
    return problems.set('', `a check of the schema threw: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!parsed.success) {
    for (const issue of parsed.error.issues) addIssue(problems, issue, []);
    return problems;
  }
  for (const key of Object.keys(parsed.data as object)) {
    if (Object.hasOwn(document, key) || (parsed.data as Document)[key] === undefined) continue;
    problems.set(key, 'is missing, and its default is not constant, so it does not fill stored documents');
  }
  return problems;
}

/** Adds the problems of an issue; for a union, those of the option with the fewest issues. */
function addIssue(problems: Map<string, string>, issue: z.core.$ZodIssue, parent: readonly PropertyKey[]): void {
  const path = [...parent, ...issue.path];
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const [closest = []] = [...issue.errors].sort((a, b) => a.length - b.length);
    for (const inner of closest) addIssue(problems, inner, path);
    return;
  }
  problems.set(pathOf(path), issue.message);
}

function pathOf(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path) text += typeof step === 'number' ? '[]' : `${text === '' ? '' : '.'}${String(step)}`;
  return text;
}

/** The user fields of a stored value, without keys that a strict schema does not have. */
function ownFields({ strictKeys }: Table, data: Document): Document {
  const own = Object.entries(data).filter(([key]) => {
    return key !== 'id' && key !== '_creationTime' && (strictKeys === null || strictKeys.has(key));
  });
  return Object.fromEntries(own);
}

function unknownKeys({ definition }: Table, data: unknown): string[] {
  const known = knownKeys(definition.schema);
  if (known === null || typeof data !== 'object' || data === null || Array.isArray(data)) return [];
  return Object.keys(data).filter((key) => !known.has(key) && key !== 'id' && key !== '_creationTime');
}

/** The keys that documents of a schema may have; `null` if any key is allowed. */
function knownKeys(schema: z.core.$ZodType): Set<string> | null {
  const { def } = schema._zod as { def: z.core.$ZodTypeDef };
  if (def.type === 'object') {
    const { shape, catchall } = def as z.core.$ZodObjectDef;
    const strict = catchall === undefined || (catchall._zod as { def: z.core.$ZodTypeDef }).def.type === 'never';
    return strict ? new Set(Object.keys(shape)) : null;
  }
  if (def.type !== 'union') return null;
  const options = (def as z.core.$ZodUnionDef).options.map(knownKeys);
  return options.includes(null) ? null : new Set(options.flatMap((keys) => [...(keys ?? [])]));
}

/** A hash of a schema: of its shape and the source text of its custom checks. */
function schemaName(schema: z.core.$ZodType): string {
  const hash = createHash('sha256');
  const shape = z.toJSONSchema(schema, {
    unrepresentable: 'any',
    io: 'input',
    override: ({ zodSchema }) => {
      const { checks = [] } = zodSchema._zod.def as { checks?: readonly z.core.$ZodCheck[] };
      for (const { _zod } of checks) hash.update(String((_zod.def as { fn?: unknown }).fn ?? _zod.def.check));
    },
  });
  return hash.update(JSON.stringify(shape)).digest('hex');
}
