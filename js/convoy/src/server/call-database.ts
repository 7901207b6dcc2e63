/**
 * The implementation of `ctx.db` for one call: checks names, ids and documents, and turns each method into operations.
 *
 * Writes to one document keep their order even if they are not awaited, a read of it runs after the writes issued before,
 * and a patch is validated as the whole resulting document.
 */

import { bindStatement } from '../sql/statement.js';
import { formatId } from '../values/ids.js';
import { storageProblem } from '../values/storable-json.js';
import { inspectValue, invalid } from './argument-errors.js';
import { CachedDatabase } from './cached-database.js';
import { CACHED_READS } from './cached-reads.js';
import type { Call } from './call.js';
import { DevWarnings } from './dev-warnings.js';
import { documentRef, type Target, tableNamed, targetOf } from './document-ref.js';
import type { Document } from './documents.js';
import { assertNumberField, incrementBase, numberAt } from './fields.js';
import type { FunctionKind } from './functions.js';
import type { LossyValues } from './lossy-values.js';
import type { InsertOperation, ReadOperation, WriteOperation } from './operations.js';
import type { Program, Table } from './program.js';
import { type Receive, type ScanSource, TableScan } from './scan.js';
import type { Scope } from './scope.js';
import { assertFits, assertRemovable, storedChanges, storedDocument } from './validate-document.js';

/** Options of a `CallDatabase`. */
export interface CallDatabaseOptions {
  /** The scope of its operations; by default the root scope of the call. */
  readonly scope?: Scope;
  /** The kind of the function that uses it: a query must not write, even if a mutation has called it. */
  readonly kind?: FunctionKind;
  /** The name of that function, for warnings. */
  readonly functionName?: string | null;
}

/**
 * How an operation is issued. `read`: its failure may be ignored. `write`: an unhandled failure fails the scope.
 * `multi-op`: a write of several operations, which opens a transaction in a call without one.
 */
type IssueMode = 'read' | 'write' | 'multi-op';

/** The values read by the call of `db` that JavaScript cannot represent exactly; `null` if there are none. */
export let lossyOf: (db: CallDatabase) => LossyValues | null;

/** The implementation of `Database`; the public types are those of `ctx.db`. */
export class CallDatabase implements ScanSource {
  /** Private at run time: it is also used by the database passed to `createContext`, so it could identify the caller. */
  readonly #call: Call;
  /** `null` outside of development. */
  readonly warnings: DevWarnings | null;
  readonly #program: Program;
  readonly #scope: Scope;
  readonly #kind: FunctionKind;
  readonly #functionName: string | null;

  static {
    lossyOf = (db) => db.#call.lossy;
  }

  constructor(call: Call, program: Program, options: CallDatabaseOptions = {}) {
    this.#call = call;
    this.#program = program;
    this.#scope = options.scope ?? call.root;
    this.#kind = options.kind ?? call.kind;
    this.#functionName = options.functionName ?? null;
    this.warnings = program.dev ? new DevWarnings(program, call, this.#functionName) : null;
  }

  /** The reads of `createContext` that may come from memory; see `cachedReads`. */
  [CACHED_READS](): CachedDatabase {
    return new CachedDatabase(this.#call, this.#program);
  }

  get(...args: unknown[]): Promise<Document | null> {
    return this.#issue('read', () => {
      const target = targetOf(this.#program, args);
      return (scope) => this.#read(scope, target);
    });
  }

  getMany(ids: unknown): Promise<(Document | null)[]> {
    return this.#issue('read', () => {
      // All ids are checked before the first document is read.
      const targets = list('getMany', ids).map((id) => targetOf(this.#program, [id]));
      return (scope) => Promise.all(targets.map((target) => this.#read(scope, target)));
    });
  }

  query(table: string): TableScan {
    return new TableScan(this, tableNamed(this.#program, table));
  }

  raw(query: unknown, options: unknown = {}): Promise<unknown[]> {
    const reads = this.#kind === 'query';
    // The database session of a query is read-only anyway.
    const readOnly = reads && this.#call.kind !== 'query' ? ({ readOnly: true } as const) : {};
    return this.#issue(reads ? 'read' : 'write', () => {
      const operation = { op: 'raw', ...bindStatement(query), tables: tablesIn(options), ...readOnly } as const;
      return (scope) => {
        // A user statement may write to any document.
        if (!reads) this.#call.documents.forgetAll();
        return this.#call.issue(scope, operation, (rows) => {
          if (!reads) this.#call.documents.forgetAll();
          return rows as unknown[];
        });
      };
    });
  }

  transaction(fn: unknown): Promise<unknown> {
    if (typeof fn !== 'function') {
      return this.#call.rejectWrite(
        this.#scope,
        invalid('transaction() takes a function: transaction(async (tx) => { … })'),
      );
    }
    const options = { kind: this.#kind, functionName: this.#functionName };
    return this.#call.transaction((scope) => {
      return fn(new CallDatabase(this.#call, this.#program, { ...options, scope })) as unknown;
    }, this.#scope);
  }

  insert(tableName: string, input: unknown): Promise<string> {
    return this.#issue(this.#holds(tableName) ? 'read' : 'write', () => {
      this.#mustWrite('insert');
      const table = tableNamed(this.#program, tableName);
      const doc = storedDocument(table, input, null, this.#call.lossy);
      this.warnings?.stripped(table, input);
      return (scope) => this.#store(scope, table, [doc])[0] as Promise<string>;
    });
  }

  insertMany(tableName: string, inputs: unknown): Promise<string[]> {
    return this.#issue(this.#holds(tableName) ? 'read' : 'multi-op', () => {
      this.#mustWrite('insertMany');
      const table = tableNamed(this.#program, tableName);
      // All documents are validated before the first is inserted.
      const documents = list('insertMany', inputs).map((input) => storedDocument(table, input, null, this.#call.lossy));
      if (this.warnings !== null) for (const input of inputs as unknown[]) this.warnings.stripped(table, input);
      return (scope) => Promise.all(this.#store(scope, table, documents));
    });
  }

  patch(...args: unknown[]): Promise<Document | null> {
    return this.#issue('multi-op', () => {
      this.#mustWrite('patch');
      const [target, changes] = documentRef(this.#program, 'patch', args, 'the keys to change');
      if (typeof changes !== 'object' || changes === null || Array.isArray(changes)) {
        throw invalid(`patch() takes an object of the keys to change, not ${inspectValue(changes)}`);
      }
      assertRemovable(target.table, changes);
      return (scope) => this.#inOrder([target], () => this.#patch(scope, target, changes));
    });
  }

  replace(...args: unknown[]): Promise<Document | null> {
    return this.#issue('multi-op', () => {
      this.#mustWrite('replace');
      const [target, input] = documentRef(this.#program, 'replace', args, 'the new document');
      return (scope) => this.#inOrder([target], () => this.#replace(scope, target, input));
    });
  }

  increment(...args: unknown[]): Promise<Document | null> {
    return this.#issue('multi-op', () => {
      this.#mustWrite('increment');
      if (args.length < 3) throw invalid('increment() takes an id, a field and a number');
      const target = targetOf(this.#program, args.slice(0, -2));
      const [field, by] = args.slice(-2);
      assertNumberField(target.table, field);
      if (typeof by !== 'number' || !Number.isFinite(by)) {
        throw invalid(`increment() adds a finite number, not ${inspectValue(by)}: increment(id, '${field}', 1)`);
      }
      return (scope) => this.#inOrder([target], () => this.#increment(scope, target, field, by));
    });
  }

  delete(...args: unknown[]): Promise<boolean> {
    return this.#issue('write', () => {
      this.#mustWrite('delete');
      const target = targetOf(this.#program, args);
      return (scope) => this.#inOrder([target], () => this.#delete(scope, target));
    });
  }

  deleteMany(tableName: string, ids: unknown): Promise<number> {
    return this.#issue('multi-op', () => {
      this.#mustWrite('deleteMany');
      const table = tableNamed(this.#program, tableName);
      // All ids are checked before the first document is deleted; duplicates are removed.
      const found = list('deleteMany', ids).map((id) => targetOf(this.#program, [table.name, id]));
      const targets = [...new Map(found.map((target) => [target.id, target])).values()];
      return async (scope) => {
        const deleting = this.#inOrder(targets, () => Promise.all(targets.map((each) => this.#delete(scope, each))));
        return (await deleting).filter((deleted) => deleted).length;
      };
    });
  }

  read<T>(table: Table, operation: ReadOperation, finish: (answer: unknown, receive: Receive) => T): Promise<T> {
    return this.#issue('read', () => (scope) => {
      const receive: Receive = (documents) => {
        const found = documents as Document[];
        for (const document of found) this.#received(scope, table, document);
        return found;
      };
      return this.#call.issue(scope, operation, (answer) => finish(answer, receive));
    });
  }

  /** Whether an insert into the table is held until the next operation, so that it cannot fail by itself. */
  #holds(tableName: string): boolean {
    return this.#call.transactional && this.#program.holdsInserts.has(tableName);
  }

  #store(scope: Scope, table: Table, documents: readonly object[]): Promise<string>[] {
    if (documents.length === 0) return [];
    const uuids = this.#call.engine.mintIds(documents.length);
    const holds = !this.#call.ended && this.#holds(table.name);
    return documents.map((doc, index) => {
      const uuid = uuids[index];
      if (uuid === undefined) throw new Error('The engine made too few ids.');
      const id = formatId(table.name, uuid);
      const operation: InsertOperation = { op: 'insert', table: table.name, id: uuid, doc };
      if (!holds) return this.#call.issue(scope, operation, () => id);
      this.#call.hold(scope, operation);
      return Promise.resolve(id);
    });
  }

  /** Reads a document after the writes to it that were issued before. */
  #read(scope: Scope, target: Target): Promise<Document | null> {
    const { documents } = this.#call;
    if (!documents.hasPendingWrites) return this.#readNow(scope, target);
    return scope.track(documents.afterWrites([target.id], () => this.#readNow(scope, target)));
  }

  #readNow(scope: Scope, { table, uuid }: Target): Promise<Document | null> {
    return this.#call.issue(scope, { op: 'get', table: table.name, id: uuid }, (document) =>
      document === null ? null : this.#received(scope, table, document as Document),
    );
  }

  /** The document from the cache of the call, else read. Synchronous if it is cached. */
  #current(scope: Scope, target: Target): Document | Promise<Document | null> {
    return this.#call.documents.cached(target.id) ?? this.#readNow(scope, target);
  }

  async #patch(scope: Scope, target: Target, changes: object): Promise<Document | null> {
    const cached = this.#current(scope, target);
    const current = cached instanceof Promise ? await cached : cached;
    if (current === null) return null;
    this.warnings?.stripped(target.table, changes);
    const { set, unset } = storedChanges(target.table, current, changes, this.#call.lossy);
    if (Object.keys(set).length === 0 && unset.length === 0) return this.#readNow(scope, target);
    return this.#write(scope, target, { op: 'patch', table: target.table.name, id: target.uuid, set, unset });
  }

  async #replace(scope: Scope, target: Target, input: unknown): Promise<Document | null> {
    let identity: Document | null = { id: target.id };
    if (typeof input === 'object' && input !== null && '_creationTime' in input) {
      // The creation time is compared with that of the stored document.
      const cached = this.#current(scope, target);
      identity = cached instanceof Promise ? await cached : cached;
    }
    if (identity === null) return null;
    const doc = storedDocument(target.table, input, identity, this.#call.lossy);
    this.warnings?.stripped(target.table, input);
    return this.#write(scope, target, { op: 'replace', table: target.table.name, id: target.uuid, doc });
  }

  async #increment(scope: Scope, target: Target, field: string, by: number): Promise<Document | null> {
    let base = incrementBase(target.table, field);
    if (base === null) {
      const current = await this.#current(scope, target);
      if (current === null) return null;
      base = numberAt(current, field);
    }
    const operation = { op: 'increment', table: target.table.name, id: target.uuid, field, by, base } as const;
    const document = await this.#write(scope, target, operation);
    if (document === null) return null;
    try {
      assertFits(target.table, document);
    } catch (error) {
      // The document is written already, so the transaction has to be rolled back.
      scope.abort(error);
      throw error;
    }
    return document;
  }

  #write(scope: Scope, target: Target, operation: WriteOperation): Promise<Document | null> {
    this.#call.documents.forget(target.id);
    return this.#call.issue(scope, operation, (document) =>
      document === null ? null : this.#received(scope, target.table, document as Document),
    );
  }

  #delete(scope: Scope, { table, uuid, id }: Target): Promise<boolean> {
    return this.#call.issue(scope, { op: 'delete', table: table.name, id: uuid }, (deleted) => {
      this.#call.documents.forget(id);
      return deleted === true;
    });
  }

  /** Fills defaults into a document just read, and caches it if the transaction guarantees that it stays the same. */
  #received(scope: Scope, table: Table, document: Document): Document {
    table.fill?.(document);
    const isStable = this.#call.kind !== 'query' && !scope.ended && (this.#call.transactional || scope.parent !== null);
    if (isStable) this.#call.documents.cache(document);
    return document;
  }

  /** Runs `write` after all earlier writes to the same documents. */
  #inOrder<T>(targets: readonly Target[], write: () => Promise<T>): Promise<T> {
    return this.#call.documents.inOrder(
      targets.map(({ id }) => id),
      write,
    );
  }

  /**
   * Issues an operation in its scope, after the inner transaction that may be open there. `check` runs synchronously, so
   * that errors in the arguments have the caller's stack. They are returned as a rejected promise, which may be left
   * unawaited.
   */
  #issue<T>(mode: IssueMode, check: () => (scope: Scope) => Promise<T>): Promise<T> {
    let scope = this.#scope;
    try {
      scope = this.#call.scopeOf(scope);
      return this.#inTurn(scope, mode, check());
    } catch (error) {
      return this.#call.rejectWrite(scope, error);
    }
  }

  #inTurn<T>(scope: Scope, mode: IssueMode, operation: (scope: Scope) => Promise<T>): Promise<T> {
    if (mode === 'multi-op' && !this.#call.transactional && scope.parent === null) {
      return this.#call.transaction(operation, scope);
    }
    const work = this.#call.within(scope, () => operation(scope));
    return mode === 'read' ? work : scope.observe(scope.track(work));
  }

  #mustWrite(method: string): void {
    if (this.#kind === 'query') {
      throw new TypeError(`ctx.db.${method}: a query only reads. Make this function a mutation.`);
    }
  }
}

function list(method: string, value: unknown): readonly unknown[] {
  // A copy without holes, which `map` would skip.
  if (Array.isArray(value)) return Array.from(value);
  throw invalid(`${method}() takes an array, not ${inspectValue(value)}`);
}

function tablesIn(options: unknown): readonly string[] | null {
  const tables = (options as { readonly tables?: unknown } | null | undefined)?.tables;
  if (tables === undefined) return null;
  if (Array.isArray(tables) && tables.every(isName)) return tables;
  throw invalid("raw(…, { tables }) takes the names of the tables the statement reads: { tables: ['messages'] }");
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && storageProblem(value) === null;
}
