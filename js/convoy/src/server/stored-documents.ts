/**
 * Compares stored documents with the schema of the program: the function that does it, where the program is, a few
 * documents per call so that no thread is held up.
 *
 * It is one more internal function of every program. Its statements are those of `raw`, because it must see documents
 * that could not be read otherwise.
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

/** No function of a user can be called this: it contains what no key of a module does. */
export const CHECK_NAME = 'convoy: stored documents';

/** More than this many documents of a table are not all looked at. */
export const SAMPLE = 10_000;

/** What a table says of itself: which documents to look at, and by which schema. */
export interface SampleOfTable {
  /** Names the schema; the same as long as documents are checked in the same way. */
  readonly schema: string;
  /** Bare uuids. */
  readonly ids: readonly string[];
  /** False where there are more documents than these. */
  readonly isWhole: boolean;
}

/** One way in which documents do not fit. */
export interface Misfit {
  /** The field; `items[].name` within lists, and empty for the document as a whole. */
  readonly path: string;
  readonly message: string;
  readonly count: number;
  /** The id of one such document. */
  readonly example: string;
}

/** What was found in some documents. */
export interface Checked {
  readonly documents: number;
  /** How many of them do not fit. */
  readonly unfit: number;
  readonly misfits: readonly Misfit[];
  /** Fields of documents that do not fit which the schema does not know. */
  readonly unknown: readonly string[];
  /** Fields that the schema does not know, of documents that fit. */
  readonly forgotten: readonly Misfit[];
  /** Fields that the schema knows and none of the documents with `forgotten` ones has. */
  readonly absent: readonly string[];
  /** What JavaScript cannot hold: numbers that no double is equal to, and nesting deeper than our own. */
  readonly odd: readonly Misfit[];
}

/** What the function is asked: for the ids of a table, or about documents. */
export interface CheckArguments {
  readonly table: string;
  /** The schema that documents were checked by; as long as it is the same, no ids are given. */
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

/** The function of a program with these tables. */
export function documentCheck(tables: ReadonlyMap<string, Table>): AnyConvoyFunction {
  return internalAction({
    input: z.object({ table: z.string(), known: z.string().optional(), ids: z.array(z.string()).optional() }),
    handler: ({ db }, { table: name, known, ids }): Promise<SampleOfTable | Checked> => {
      const table = tables.get(name);
      if (table === undefined) throw new Error(`there is no table ${name}`);
      // The running form of the database; it is typed by no model here.
      const database = db as unknown as CallDatabase;
      return ids === undefined ? sampleOf(database, table, known) : check(database, table, ids);
    },
  });
}

async function sampleOf(db: CallDatabase, { definition, name }: Table, known?: string): Promise<SampleOfTable> {
  const schema = schemaName(definition.schema);
  if (schema === known) return { schema, ids: [], isWhole: true };
  const physical = sql.identifier(definition.name ?? name);
  const some = await idsOf(db, sql`select id from ${physical} limit ${SAMPLE + 1}`);
  if (some.length <= SAMPLE) return { schema, ids: some, isWhole: true };
  // More than are needed, since blocks differ in how much is in them, and of these any. A table that was never analyzed
  // is taken to hold few documents in each block.
  const [size] = (await db.raw(sql`
    select least(100, 300 * ${SAMPLE} / greatest(${SAMPLE}, case when reltuples > 0 then reltuples
      else pg_relation_size(oid) / 8192 * 4 end))::float8 as percent
    from pg_class where oid = to_regclass(quote_ident(${definition.name ?? name}))`)) as { percent: number }[];
  const percent = sql.raw(String(Number(size?.percent ?? 100)));
  const ids = await idsOf(
    db,
    sql`select id from (select id from ${physical} tablesample system (${percent})) as sampled order by random() limit ${SAMPLE}`,
  );
  return { schema, ids: ids.length === 0 ? some.slice(0, SAMPLE) : ids, isWhole: false };
}

/** In one row, so that they do not count as so many documents read. */
async function idsOf(db: CallDatabase, statement: ReturnType<typeof sql>): Promise<string[]> {
  const [row] = (await db.raw(sql`select coalesce(json_agg(id), '[]') as ids from (${statement}) as found`)) as {
    ids: string[];
  }[];
  return row?.ids ?? [];
}

async function check(db: CallDatabase, table: Table, ids: readonly string[]): Promise<Checked> {
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

class Findings {
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
    // A document of a union lacks the fields of the other options.
    const isUnion = (table.definition.schema._zod as { def: z.core.$ZodTypeDef }).def.type === 'union';
    this.#absent = new Set(isUnion ? [] : knownKeys(table.definition.schema));
  }

  get checked(): Checked {
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

/** What is wrong with a stored document, by path; nothing where it fits once defaults are filled in. */
function problemsOf(table: Table, data: unknown): Map<string, string> {
  const problems = new Map<string, string>();
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    return problems.set('', 'the stored value is no object, so it cannot be read');
  }
  const document = ownFields(table, data as Document);
  table.fill?.(document);
  let parsed: ReturnType<typeof z.safeParse>;
  try {
    parsed = z.safeParse(table.definition.schema, document);
  } catch (error) {
    // A refinement that was written for the documents of today. One document says nothing of the others.
    return problems.set('', `a check of the schema threw: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!parsed.success) {
    for (const issue of parsed.error.issues) addIssue(problems, issue, []);
    return problems;
  }
  for (const key of Object.keys(parsed.data as object)) {
    if (Object.hasOwn(document, key) || (parsed.data as Document)[key] === undefined) continue;
    problems.set(key, 'is missing, and its default, which is another each time, does not fill stored documents');
  }
  return problems;
}

/** Of a union, what is wrong by the option that comes closest. */
function addIssue(problems: Map<string, string>, issue: z.core.$ZodIssue, above: readonly PropertyKey[]): void {
  const path = [...above, ...issue.path];
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

/** What of it is the document: not what a strict schema does not know any more, nor names that are ours. */
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

/** The keys a table's documents may have; `null` where any. */
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

/** The same for schemas that check alike, as far as that can be seen: their shape, and the source of their own checks. */
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
