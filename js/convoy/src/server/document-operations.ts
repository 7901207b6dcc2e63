/** Reads and writes of documents in a scope, for checked arguments. No access rules apply here. */

import { formatId } from '../values/ids.js';
import type { Call } from './call.js';
import type { DevWarnings } from './dev-warnings.js';
import type { Target } from './document-ref.js';
import type { Document } from './documents.js';
import { incrementBase, numberAt } from './fields.js';
import { rejected } from './observed-promise.js';
import type { DataOperation, InsertOperation, PageOperation, Plan, WriteOperation } from './operations.js';
import type { Program, Table } from './program.js';
import { type OperationRole, type Reader, underRole } from './row-security/operation-role.js';
import type { Scope } from './scope.js';
import type { Page } from './table-query.js';
import { assertFits, storedChanges, storedDocument } from './validate-document.js';

/** The part of a page operation that selects a page of a plan. */
export type PageRange = Pick<PageOperation, 'cursor' | 'end' | 'size'>;

/** The operations of `ctx.db` on documents of a table. */
export interface TableOperations {
  read(scope: Scope, target: Target): Promise<Document | null>;
  insert(scope: Scope, table: Table, document: object): Promise<string>;
  insertMany(scope: Scope, table: Table, documents: readonly object[]): Promise<string[]>;
  patch(scope: Scope, target: Target, changes: object): Promise<Document | null>;
  replace(scope: Scope, target: Target, input: unknown): Promise<Document | null>;
  increment(scope: Scope, target: Target, field: string, by: number): Promise<Document | null>;
  /** Returns which of the documents existed. */
  delete(scope: Scope, targets: readonly Target[]): Promise<boolean[]>;
  scan<T>(scope: Scope, table: Table, plan: Plan, finish: (documents: Document[]) => T): Promise<T>;
  count(scope: Scope, table: Table, plan: Plan): Promise<number>;
  /** The plan has no limit. */
  page(scope: Scope, table: Table, plan: Plan, range: PageRange): Promise<Page<Document>>;
}

/** How these operations are issued. */
export interface DocumentOptions {
  readonly warnings: DevWarnings | null;
  /** Whether reads wait for the pending writes to the same document. */
  readonly inOrder: boolean;
  /** The role they run under; `null` in a program without row-level security. */
  readonly role: OperationRole | null;
}

export class DocumentOperations implements TableOperations {
  readonly #call: Call;
  readonly #program: Program;
  readonly #warnings: DevWarnings | null;
  readonly #inOrder: boolean;
  readonly #role: OperationRole | null;

  constructor(call: Call, program: Program, { warnings, inOrder, role }: DocumentOptions) {
    this.#call = call;
    this.#program = program;
    this.#warnings = warnings;
    this.#inOrder = inOrder;
    this.#role = role;
  }

  /** Issues an operation under the role of this database. */
  issue<T>(scope: Scope, operation: DataOperation, finish: (answer: unknown) => T): Promise<T> {
    let marked: DataOperation;
    try {
      marked = underRole(this.#role, operation);
    } catch (error) {
      // The settings of the caller could not be made.
      return rejected(error);
    }
    return this.#call.issue(scope, marked, finish);
  }

  /** Reads a document after the writes to it that were issued before. */
  read(scope: Scope, target: Target): Promise<Document | null> {
    const { documents } = this.#call;
    if (!this.#inOrder || !documents.hasPendingWrites) return this.readNow(scope, target);
    return scope.track(documents.afterWrites([target.id], () => this.readNow(scope, target)));
  }

  /** Reads a document, without waiting for a write of this call. */
  readNow(scope: Scope, { table, uuid }: Target): Promise<Document | null> {
    return this.issue(scope, { op: 'get', table: table.name, id: uuid }, (document) =>
      document === null ? null : this.#received(scope, table, document as Document),
    );
  }

  insert(scope: Scope, table: Table, document: object): Promise<string> {
    return this.store(scope, table, this.mintIds(1), [document])[0] as Promise<string>;
  }

  insertMany(scope: Scope, table: Table, documents: readonly object[]): Promise<string[]> {
    return Promise.all(this.store(scope, table, this.mintIds(documents.length), documents));
  }

  /** Bare uuids for new documents. */
  mintIds(count: number): readonly string[] {
    return count === 0 ? [] : this.#call.engine.mintIds(count);
  }

  /** Whether a write to the table may be held until the next operation, so that it cannot fail by itself. */
  holds(tableName: string): boolean {
    return this.#call.transactional && this.#program.holdsWrites.has(tableName);
  }

  /** Inserts the documents under these ids, in the same order. */
  store(scope: Scope, table: Table, uuids: readonly string[], documents: readonly object[]): Promise<string>[] {
    const holds = !this.#call.ended && this.holds(table.name);
    return documents.map((doc, index) => {
      const uuid = uuids[index];
      if (uuid === undefined) throw new Error('The engine made too few ids.');
      const id = formatId(table.name, uuid);
      const operation: InsertOperation = { op: 'insert', table: table.name, id: uuid, doc };
      if (!holds) return this.issue(scope, operation, () => id);
      this.#call.hold(scope, operation);
      return Promise.resolve(id);
    });
  }

  async patch(scope: Scope, target: Target, changes: object): Promise<Document | null> {
    const cached = this.#current(scope, target);
    const current = cached instanceof Promise ? await cached : cached;
    if (current === null) return null;
    this.#warnings?.stripped(target.table, changes);
    const { set, unset } = storedChanges(target.table, current, changes, this.#call.lossy);
    if (Object.keys(set).length === 0 && unset.length === 0) return this.readNow(scope, target);
    if (unset.length === 0 && this.#holdsPatch(scope, target.table, current, set)) {
      this.#call.hold(scope, { op: 'patch', table: target.table.name, id: target.uuid, set, unset });
      const patched = { ...current, ...set };
      this.#call.documents.cache(patched, this.#reader);
      return patched;
    }
    return this.write(scope, target, { op: 'patch', table: target.table.name, id: target.uuid, set, unset });
  }

  async replace(scope: Scope, target: Target, input: unknown): Promise<Document | null> {
    let identity: Document | null = { id: target.id };
    if (typeof input === 'object' && input !== null && '_creationTime' in input) {
      // The creation time is compared with that of the stored document.
      const cached = this.#current(scope, target);
      identity = cached instanceof Promise ? await cached : cached;
    }
    if (identity === null) return null;
    const doc = storedDocument(target.table, input, identity, this.#call.lossy);
    this.#warnings?.stripped(target.table, input);
    return this.write(scope, target, { op: 'replace', table: target.table.name, id: target.uuid, doc });
  }

  async increment(scope: Scope, target: Target, field: string, by: number): Promise<Document | null> {
    let base = incrementBase(target.table, field);
    if (base === null) {
      const current = await this.#current(scope, target);
      if (current === null) return null;
      base = numberAt(current, field);
    }
    const operation = { op: 'increment', table: target.table.name, id: target.uuid, field, by, base } as const;
    const document = await this.write(scope, target, operation);
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

  write(scope: Scope, target: Target, operation: WriteOperation): Promise<Document | null> {
    this.#call.documents.forget(target.id);
    return this.issue(scope, operation, (document) =>
      document === null ? null : this.#received(scope, target.table, document as Document),
    );
  }

  delete(scope: Scope, targets: readonly Target[]): Promise<boolean[]> {
    const deletes = targets.map(({ table, uuid, id }) =>
      this.issue(scope, { op: 'delete', table: table.name, id: uuid }, (deleted) => {
        this.#call.documents.forget(id);
        return deleted === true;
      }),
    );
    return Promise.all(deletes);
  }

  scan<T>(scope: Scope, table: Table, plan: Plan, finish: (documents: Document[]) => T): Promise<T> {
    return this.issue(scope, { op: 'scan', table: table.name, ...plan }, (answer) =>
      finish(this.#receivedAll(scope, table, answer)),
    );
  }

  count(scope: Scope, table: Table, plan: Plan): Promise<number> {
    return this.issue(scope, { op: 'count', table: table.name, ...plan }, (answer) => answer as number);
  }

  page(scope: Scope, table: Table, plan: Plan, range: PageRange): Promise<Page<Document>> {
    return this.rawPage(scope, { op: 'page', table: table.name, ...plan, ...range }, table);
  }

  /** The result of a page operation, with defaults filled in. */
  rawPage<Result extends Page<Document>>(scope: Scope, operation: PageOperation, table: Table): Promise<Result> {
    return this.issue(scope, operation, (answer) => {
      const { page, ...rest } = answer as Result;
      return { ...rest, page: this.#receivedAll(scope, table, page) } as Result;
    });
  }

  /** The document from the cache of the call, else read. Synchronous if it is cached. */
  #current(scope: Scope, target: Target): Document | Promise<Document | null> {
    return this.#call.documents.cached(target.id, this.#reader) ?? this.readNow(scope, target);
  }

  /**
   * Whether a patch may be held: then its result is made here. Only plain values that replace others, because Postgres
   * sorts the members of objects, and the handler may have changed what is nested in `current`.
   */
  #holdsPatch(scope: Scope, table: Table, current: Document, set: Document): boolean {
    return (
      scope.parent === null &&
      !this.#call.ended &&
      this.#call.lossy === null &&
      this.holds(table.name) &&
      Object.keys(set).every((key) => Object.hasOwn(current, key)) &&
      Object.values(current).every(isPlain) &&
      Object.values(set).every(isPlain)
    );
  }

  get #reader(): Reader {
    return this.#role?.reader ?? 'client';
  }

  #receivedAll(scope: Scope, table: Table, answer: unknown): Document[] {
    const documents = answer as Document[];
    for (const document of documents) this.#received(scope, table, document);
    return documents;
  }

  /** Fills defaults into a document just read, and caches it if the transaction guarantees that it stays the same. */
  #received(scope: Scope, table: Table, document: Document): Document {
    table.fill?.(document);
    const isStable = this.#call.kind !== 'query' && !scope.ended && (this.#call.transactional || scope.parent !== null);
    if (isStable) this.#call.documents.cache(document, this.#reader);
    return document;
  }
}

/** Whether Postgres returns the value exactly as it is; it stores -0 as 0. */
function isPlain(value: unknown): boolean {
  return (value === null || typeof value !== 'object') && !Object.is(value, -0);
}
