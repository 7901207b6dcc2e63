/**
 * The implementation of `ctx.db` for one call: checks names, ids and documents, and turns each method into operations.
 *
 * Writes to one document keep their order even if they are not awaited, a read of it runs after the writes issued before,
 * and a patch is validated as the whole resulting document.
 */

import { bindStatement } from '../sql/statement.js';
import { storageProblem } from '../values/storable-json.js';
import type { AccessControl } from './access/access-control.js';
import { GuardedOperations } from './access/guarded-operations.js';
import { describeValue, invalid } from './argument-errors.js';
import { CachedDatabase } from './cached-database.js';
import { CACHED_READS } from './cached-reads.js';
import type { Call } from './call.js';
import { DevWarnings } from './dev-warnings.js';
import { DocumentOperations, type PageRange, type TableOperations } from './document-operations.js';
import { documentRef, type Target, tableNamed, targetOf } from './document-ref.js';
import type { Document } from './documents.js';
import { assertNumberField } from './fields.js';
import type { FunctionKind } from './functions.js';
import type { LossyValues } from './lossy-values.js';
import type { Plan } from './operations.js';
import type { Program, Table } from './program.js';
import { type OperationRole, SYSTEM_ROLE } from './row-security/operation-role.js';
import { type ScanSource, TableScan } from './scan.js';
import type { Scope } from './scope.js';
import type { Page } from './table-query.js';
import { assertRemovable, storedDocument } from './validate-document.js';

/** Options of a `CallDatabase`. */
export interface CallDatabaseOptions {
  /** The scope of its operations; by default the root scope of the call. */
  readonly scope?: Scope;
  /** The kind of the function that uses it: a query must not write, even if a mutation has called it. */
  readonly kind?: FunctionKind;
  /** The name of that function, for warnings. */
  readonly functionName?: string | null;
  /** The access rules that its methods apply; `null` if rules are off. */
  readonly access?: AccessControl | null;
  /** The role its operations run under; `null` in a program without row-level security. */
  readonly role?: OperationRole | null;
  /**
   * Whether it serves a rule, as a part of an operation that is running: its reads wait neither for other operations of
   * the scope nor for pending writes, since these may wait for that operation.
   */
  readonly nested?: boolean;
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
  readonly #access: AccessControl | null;
  readonly #role: OperationRole | null;
  readonly #nested: boolean;
  readonly #unguarded: DocumentOperations;
  readonly #guarded: GuardedOperations | null;

  static {
    lossyOf = (db) => db.#call.lossy;
  }

  constructor(call: Call, program: Program, options: CallDatabaseOptions = {}) {
    this.#call = call;
    this.#program = program;
    this.#scope = options.scope ?? call.root;
    this.#kind = options.kind ?? call.kind;
    this.#functionName = options.functionName ?? null;
    this.#access = options.access ?? null;
    this.#role = options.role ?? null;
    this.#nested = options.nested ?? false;
    this.warnings = program.dev ? new DevWarnings(program, call, this.#functionName) : null;
    const { warnings } = this;
    this.#unguarded = new DocumentOperations(call, program, { warnings, inOrder: !this.#nested, role: this.#role });
    const guard = { call, documents: this.#unguarded, warnings };
    this.#guarded = this.#access === null ? null : new GuardedOperations(this.#access, guard);
  }

  /** The same database without access rules, under the role of the connection. */
  get system(): CallDatabase {
    const role = this.#role === null ? null : SYSTEM_ROLE;
    return this.#access === null && this.#role === role ? this : this.#derive({ access: null, role });
  }

  /** The reads of `createContext` that may come from memory; see `cachedReads`. */
  [CACHED_READS](): CachedDatabase | null {
    return this.#call.isMakingContext ? new CachedDatabase(this.#call, this.#program, this.#role) : null;
  }

  get(...args: unknown[]): Promise<Document | null> {
    return this.#issue('read', () => {
      const target = targetOf(this.#program, args);
      return (scope) => this.#on(target.table).read(scope, target);
    });
  }

  getMany(ids: unknown): Promise<(Document | null)[]> {
    return this.#issue('read', () => {
      // All ids are checked before the first document is read.
      const targets = list('getMany', ids).map((id) => targetOf(this.#program, [id]));
      return (scope) => Promise.all(targets.map((target) => this.#on(target.table).read(scope, target)));
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
      const statement = bindStatement(query);
      const tables = tablesIn(options);
      this.#access?.assertRaw(this.#kind, statement.text, tables);
      const operation = { op: 'raw', ...statement, tables, ...readOnly } as const;
      return (scope) => {
        // A user statement may write to any document.
        if (!reads) this.#call.documents.forgetAll();
        return this.#unguarded.issue(scope, operation, (rows) => {
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
    // A rule only reads, so there is nothing to roll back.
    if (this.#nested) return this.#issue('read', () => async () => fn(this) as unknown);
    return this.#call.transaction((scope) => fn(this.#derive({ scope })) as unknown, this.#scope);
  }

  insert(tableName: string, input: unknown): Promise<string> {
    return this.#issue(this.#insertMode(tableName, 'write'), () => {
      this.#mustWrite('insert');
      const table = tableNamed(this.#program, tableName);
      const doc = storedDocument(table, input, null, this.#call.lossy);
      this.warnings?.stripped(table, input);
      return (scope) => this.#on(table).insert(scope, table, doc);
    });
  }

  insertMany(tableName: string, inputs: unknown): Promise<string[]> {
    return this.#issue(this.#insertMode(tableName, 'multi-op'), () => {
      this.#mustWrite('insertMany');
      const table = tableNamed(this.#program, tableName);
      // All documents are validated before the first is inserted.
      const documents = list('insertMany', inputs).map((input) => storedDocument(table, input, null, this.#call.lossy));
      if (this.warnings !== null) for (const input of inputs as unknown[]) this.warnings.stripped(table, input);
      return (scope) => this.#on(table).insertMany(scope, table, documents);
    });
  }

  patch(...args: unknown[]): Promise<Document | null> {
    return this.#issue('multi-op', () => {
      this.#mustWrite('patch');
      const [target, changes] = documentRef(this.#program, 'patch', args, 'the keys to change');
      if (typeof changes !== 'object' || changes === null || Array.isArray(changes)) {
        throw invalid(`patch() takes an object of the keys to change, not ${describeValue(changes)}`);
      }
      assertRemovable(target.table, changes);
      return (scope) => this.#inOrder([target], () => this.#on(target.table).patch(scope, target, changes));
    });
  }

  replace(...args: unknown[]): Promise<Document | null> {
    return this.#issue('multi-op', () => {
      this.#mustWrite('replace');
      const [target, input] = documentRef(this.#program, 'replace', args, 'the new document');
      return (scope) => this.#inOrder([target], () => this.#on(target.table).replace(scope, target, input));
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
        throw invalid(`increment() adds a finite number, not ${describeValue(by)}: increment(id, '${field}', 1)`);
      }
      return (scope) => this.#inOrder([target], () => this.#on(target.table).increment(scope, target, field, by));
    });
  }

  delete(...args: unknown[]): Promise<boolean> {
    // A rule reads the document before, in the same transaction.
    return this.#issue(this.#guarded === null ? 'write' : 'multi-op', () => {
      this.#mustWrite('delete');
      const target = targetOf(this.#program, args);
      return async (scope) => (await this.#delete(scope, target.table, [target]))[0] === true;
    });
  }

  deleteMany(tableName: string, ids: unknown): Promise<number> {
    return this.#issue('multi-op', () => {
      this.#mustWrite('deleteMany');
      const table = tableNamed(this.#program, tableName);
      // All ids are checked before the first document is deleted; duplicates are removed.
      const found = list('deleteMany', ids).map((id) => targetOf(this.#program, [table.name, id]));
      const targets = [...new Map(found.map((target) => [target.id, target])).values()];
      return async (scope) => (await this.#delete(scope, table, targets)).filter((deleted) => deleted).length;
    });
  }

  scan<T>(table: Table, plan: Plan, finish: (documents: Document[]) => T): Promise<T> {
    return this.#issue('read', () => (scope) => this.#on(table).scan(scope, table, plan, finish));
  }

  count(table: Table, plan: Plan): Promise<number> {
    return this.#issue('read', () => (scope) => this.#on(table).count(scope, table, plan));
  }

  page(table: Table, plan: Plan, range: PageRange): Promise<Page<Document>> {
    return this.#issue('read', () => (scope) => this.#on(table).page(scope, table, plan, range));
  }

  /** The operations on documents of a table: with its access rules, if it has any and they are on. */
  #on({ definition }: Table): TableOperations {
    return definition.rules === null ? this.#unguarded : (this.#guarded ?? this.#unguarded);
  }

  /** A database for the same function, with some options changed. */
  #derive(changes: CallDatabaseOptions): CallDatabase {
    return new CallDatabase(this.#call, this.#program, {
      scope: this.#scope,
      kind: this.#kind,
      functionName: this.#functionName,
      access: this.#access,
      role: this.#role,
      nested: this.#nested,
      ...changes,
    });
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

  /** A rule may read before the insert. Without one, an insert that is held cannot fail. */
  #insertMode(tableName: string, mode: IssueMode): IssueMode {
    if (this.#guarded !== null && this.#program.tables.get(tableName)?.definition.rules != null) return 'multi-op';
    return this.#unguarded.holds(tableName) ? 'read' : mode;
  }

  #delete(scope: Scope, table: Table, targets: readonly Target[]): Promise<boolean[]> {
    return this.#inOrder(targets, () => this.#on(table).delete(scope, targets));
  }

  #inTurn<T>(scope: Scope, mode: IssueMode, operation: (scope: Scope) => Promise<T>): Promise<T> {
    if (mode === 'multi-op' && !this.#call.transactional && scope.parent === null) {
      return this.#call.transaction(operation, scope);
    }
    const work = this.#nested ? operation(scope) : this.#call.within(scope, () => operation(scope));
    return mode === 'read' ? work : scope.observe(scope.track(work));
  }

  #mustWrite(method: string): void {
    if (this.#nested) throw new TypeError(`ctx.db.${method}: an access rule only reads.`);
    if (this.#kind === 'query') {
      throw new TypeError(`ctx.db.${method}: a query only reads. Make this function a mutation.`);
    }
  }
}

function list(method: string, value: unknown): readonly unknown[] {
  // A copy without holes, which `map` would skip.
  if (Array.isArray(value)) return Array.from(value);
  throw invalid(`${method}() takes an array, not ${describeValue(value)}`);
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
