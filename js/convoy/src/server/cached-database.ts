/** The implementation of `cachedReads(base)`: its operations tell the engine that their results may come from memory. */

import type { Call } from './call.js';
import { tableNamed, targetOf } from './document-ref.js';
import type { Document } from './documents.js';
import { rejected } from './observed-promise.js';
import type { CachedOperation, Plan } from './operations.js';
import type { Program, Table } from './program.js';
import { type OperationRole, underRole } from './row-security/operation-role.js';
import { type ScanSource, TableScan } from './scan.js';
import type { Page } from './table-query.js';

export class CachedDatabase implements ScanSource {
  readonly #call: Call;
  readonly #program: Program;
  readonly #role: OperationRole | null;
  /** The checks of `convoy dev` are for handlers. */
  readonly warnings = null;

  constructor(call: Call, program: Program, role: OperationRole | null) {
    this.#call = call;
    this.#program = program;
    this.#role = role;
  }

  get(...args: unknown[]): Promise<Document | null> {
    const { table, uuid } = targetOf(this.#program, args);
    return this.#read({ op: 'get', table: table.name, id: uuid }, (document) =>
      document === null ? null : filled(table, document as Document),
    );
  }

  query(table: string): TableScan {
    return new TableScan(this, tableNamed(this.#program, table));
  }

  scan<T>(table: Table, plan: Plan, finish: (documents: Document[]) => T): Promise<T> {
    return this.#read({ op: 'scan', table: table.name, ...plan }, (documents) =>
      finish((documents as Document[]).map((document) => filled(table, document))),
    );
  }

  count(): Promise<number> {
    return rejected(unsupported());
  }

  page(): Promise<Page<Document>> {
    return rejected(unsupported());
  }

  #read<T>(operation: CachedOperation, finish: (answer: unknown) => T): Promise<T> {
    if (!this.#call.isMakingContext) {
      return rejected(new TypeError('These reads ended with createContext. In a handler, read with ctx.db.'));
    }
    const cached = { ...operation, cached: JSON.stringify(operation) };
    return this.#call.issue(this.#call.root, underRole(this.#role, cached), finish);
  }
}

function filled(table: Table, document: Document): Document {
  table.fill?.(document);
  return document;
}

function unsupported(): TypeError {
  return new TypeError('cachedReads(base) has get, and queries that end with first, unique, take or collect.');
}
