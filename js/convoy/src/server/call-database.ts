/**
 * `ctx.db` of one call: checks names, ids and documents, and turns each method into an operation.
 *
 * Writes to one document keep their order even where they are not awaited, and a patch is checked as the whole
 * document it makes.
 */

import { isZodAsyncError, parseOrRefuse } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { formatId, isUuid, parseId } from '../values/ids.js';
import { assertStorable } from '../values/json.js';
import type { Call } from './call.js';
import type { Program, Table } from './program.js';
import { type ScanSource, TableScan } from './scan.js';

type Document = Record<string, unknown>;

/** A document's place: its table and bare uuid, and the id they make. */
interface Target {
  readonly table: Table;
  readonly uuid: string;
  readonly id: string;
}

/** The running form of `Database`; the types are checked where `ctx.db` is typed. */
export class CallDatabase implements ScanSource {
  readonly call: Call;
  readonly #program: Program;
  /** Documents a mutation has read and not written since, by id; what a patch is merged with. */
  readonly #known = new Map<string, Document>();
  /** The last write to a document that has not settled, by id. */
  readonly #writing = new Map<string, Promise<unknown>>();

  constructor(call: Call, program: Program) {
    this.call = call;
    this.#program = program;
  }

  get(...args: unknown[]): Promise<Document | null> {
    return this.#attempt(() => this.#read(this.#target(args)));
  }

  getMany(ids: unknown): Promise<(Document | null)[]> {
    return this.#attempt(() => {
      // All of them are looked at before the first is read.
      const targets = list('getMany', ids).map((id) => this.#target([id]));
      return Promise.all(targets.map((target) => this.#read(target)));
    });
  }

  query(table: string): TableScan {
    return new TableScan(this, this.#table(table));
  }

  insert(tableName: string, input: unknown): Promise<string> {
    return this.#attempt(() => {
      this.#mustWrite('insert');
      const table = this.#table(tableName);
      const [stored] = this.#store(table, [this.#storable(table, input)]);
      return stored as Promise<string>;
    });
  }

  insertMany(tableName: string, inputs: unknown): Promise<string[]> {
    return this.#attempt(() => {
      this.#mustWrite('insertMany');
      const table = this.#table(tableName);
      // A document that does not fit keeps all of them out.
      const documents = list('insertMany', inputs).map((input) => this.#storable(table, input));
      return Promise.all(this.#store(table, documents));
    });
  }

  patch(...args: unknown[]): Promise<Document | null> {
    return this.#attempt(() => {
      this.#mustWrite('patch');
      const target = this.#target(args.slice(0, -1));
      const changes = args.at(-1);
      return this.#inOrder(target, () => this.#patch(target, changes));
    });
  }

  delete(...args: unknown[]): Promise<boolean> {
    return this.#attempt(() => {
      this.#mustWrite('delete');
      const target = this.#target(args);
      return this.#inOrder(target, () => {
        this.#known.delete(target.id);
        return this.call.issue({ op: 'delete', table: target.table.name, id: target.uuid }, (gone) => gone === true);
      });
    });
  }

  receive(table: Table, documents: unknown): Document[] {
    const found = documents as Document[];
    for (const document of found) this.#arrived(table, document);
    return found;
  }

  /** What is stored of a new document. */
  #storable(table: Table, input: unknown): object {
    const doc = this.#parse(table, withoutSystemFields(input, null));
    assertStorable(doc, { table: table.name });
    return doc;
  }

  #store(table: Table, documents: readonly object[]): Promise<string>[] {
    const uuids = this.call.engine.mintIds(documents.length);
    const holds = !this.call.over && this.#program.holdsInserts.has(table.name);
    return documents.map((doc, place) => {
      const uuid = uuids[place];
      if (uuid === undefined) throw new Error('The engine made too few ids.');
      const id = formatId(table.name, uuid);
      const operation = { op: 'insert', table: table.name, id: uuid, doc } as const;
      if (!holds) return this.call.issue(operation, () => id);
      this.call.hold(operation);
      return Promise.resolve(id);
    });
  }

  #read(target: Target): Promise<Document | null> {
    return this.call.issue({ op: 'get', table: target.table.name, id: target.uuid }, (document) =>
      document === null ? null : this.#arrived(target.table, document as Document),
    );
  }

  #arrived(table: Table, document: Document): Document {
    table.fill?.(document);
    // A shallow copy, because the caller may change theirs; only the check of a later patch looks at it.
    if (this.call.kind === 'mutation') this.#known.set(String(document.id), { ...document });
    return document;
  }

  async #patch(target: Target, changes: unknown): Promise<Document | null> {
    if (typeof changes !== 'object' || changes === null) throw invalid('patch() takes an object of the keys to change');
    const current = this.#known.get(target.id) ?? (await this.#read(target));
    if (current === null) return null;
    const { set, unset } = this.#merge(target.table, current, changes);
    if (Object.keys(set).length === 0 && unset.length === 0) return this.#read(target);
    this.#known.delete(target.id);
    const operation = { op: 'patch', table: target.table.name, id: target.uuid, set, unset } as const;
    return this.call.issue(operation, (document) =>
      document === null ? null : this.#arrived(target.table, document as Document),
    );
  }

  /** Checks the document the changes would make, and gives the named keys with their parsed values. */
  #merge(table: Table, current: Document, changes: object): { set: Document; unset: string[] } {
    const named = withoutSystemFields(changes, current) as Document;
    const merged: Document = {};
    for (const [key, value] of Object.entries(current)) {
      if (key === 'id' || key === '_creationTime') continue;
      if (table.strictKeys === null || table.strictKeys.has(key)) define(merged, key, value);
    }
    for (const [key, value] of Object.entries(named)) {
      if (value === undefined) delete merged[key];
      else define(merged, key, value);
    }
    const parsed = this.#parse(table, merged) as Document;
    const set: Document = {};
    const unset: string[] = [];
    for (const [key, value] of Object.entries(named)) {
      if (value === undefined) unset.push(key);
      else if (Object.hasOwn(parsed, key) && parsed[key] !== undefined) define(set, key, parsed[key]);
    }
    assertStorable(set, { table: table.name });
    return { set, unset };
  }

  #parse(table: Table, document: unknown): object {
    try {
      return parseOrRefuse(table.definition.schema, document, table.subject) as object;
    } catch (error) {
      if (!isZodAsyncError(error)) throw error;
      throw new Error(`The schema of ${table.name} has an async check; check it in the mutation, before writing.`);
    }
  }

  /** Runs `write` when no earlier write to the same document is under way. */
  #inOrder<T>(target: Target, write: () => Promise<T>): Promise<T> {
    const before = this.#writing.get(target.id);
    const result = this.call.track(before === undefined ? write() : before.then(write, write));
    this.#writing.set(target.id, result);
    const done = (): void => {
      if (this.#writing.get(target.id) === result) this.#writing.delete(target.id);
    };
    result.then(done, done);
    return result;
  }

  /** What `get`, `patch` and `delete` name: `(id)` or `(table, id)`, told apart by how many arguments there are. */
  #target(args: readonly unknown[]): Target {
    const id = args.at(-1);
    if (args.length >= 2) {
      const table = this.#table(args[0]);
      const uuid = isUuid(id) ? id.toLowerCase() : this.#uuidIn(table, id);
      return { table, uuid, id: formatId(table.name, uuid) };
    }
    const parts = parseId(id);
    if (parts === null) throw invalid(`${say(id)} is not an id; ids look like messages:01890c5e-…`);
    const table = this.#table(parts.table);
    return { table, uuid: parts.uuid, id: formatId(table.name, parts.uuid) };
  }

  #uuidIn(table: Table, id: unknown): string {
    const parts = parseId(id);
    if (parts?.table === table.name) return parts.uuid;
    const what = parts === null ? 'not an id' : `an id of ${parts.table}`;
    throw invalid(`${say(id)} is ${what}; an id of ${table.name} is needed`);
  }

  #table(name: unknown): Table {
    const table = this.#program.tables.get(name as string);
    if (table !== undefined) return table;
    throw invalid(`There is no table ${say(name)}; the tables are ${[...this.#program.tables.keys()].join(', ')}`);
  }

  #mustWrite(method: string): void {
    if (this.call.kind === 'query') {
      throw new TypeError(`ctx.db.${method}: a query only reads. Make this function a mutation.`);
    }
  }

  /** Every refusal comes as a promise, and one that may go unawaited. */
  #attempt<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return operation();
    } catch (error) {
      return this.call.refuse(error);
    }
  }
}

function list(method: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw invalid(`${method}() takes an array`);
}

/** The document without `id` and `_creationTime`, which may be written back unchanged but not changed. */
function withoutSystemFields(input: unknown, current: Document | null): unknown {
  if (typeof input !== 'object' || input === null || !('id' in input || '_creationTime' in input)) return input;
  const { id, _creationTime, ...rest } = input as Document;
  for (const [name, value] of Object.entries({ id, _creationTime })) {
    if (value === undefined || value === current?.[name]) continue;
    throw invalid(`'${name}' is given to a document when it is made, and cannot be written; leave it out`);
  }
  return rest;
}

/** Sets an own property whatever its name is; `target['__proto__'] = …` would not. */
function define(target: Document, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(target, key, { value, enumerable: true, configurable: true });
  else target[key] = value;
}

function say(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}
