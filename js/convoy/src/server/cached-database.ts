/** The implementation of `cachedReads(base)`: its operations tell the engine that their results may come from memory. */

import type { Call } from './call.js';
import { tableNamed, targetOf } from './document-ref.js';
import type { Document } from './documents.js';
import { rejected } from './observed-promise.js';
import type { ReadOperation } from './operations.js';
import type { Program, Table } from './program.js';
import { type Receive, type ScanSource, TableScan } from './scan.js';

export class CachedDatabase implements ScanSource {
  readonly #call: Call;
  readonly #program: Program;
  /** The checks of `convoy dev` are for handlers. */
  readonly warnings = null;

  constructor(call: Call, program: Program) {
    this.#call = call;
    this.#program = program;
  }

  get(...args: unknown[]): Promise<Document | null> {
    const { table, uuid } = targetOf(this.#program, args);
    return this.read(table, { op: 'get', table: table.name, id: uuid }, (document, receive) => {
      return document === null ? null : (receive([document])[0] ?? null);
    });
  }

  query(table: string): TableScan {
    return new TableScan(this, tableNamed(this.#program, table));
  }

  read<T>(table: Table, operation: ReadOperation, finish: (answer: unknown, receive: Receive) => T): Promise<T> {
    if (!this.#call.isMakingContext) {
      return rejected(new TypeError('cachedReads(base) is for createContext. A handler reads with ctx.db.'));
    }
    if (operation.op !== 'get' && operation.op !== 'scan') {
      return rejected(
        new TypeError('cachedReads(base) has get, and queries that end with first, unique, take or collect.'),
      );
    }
    const receive: Receive = (documents) => {
      for (const document of documents as Document[]) table.fill?.(document);
      return documents as Document[];
    };
    const cached = { ...operation, cached: JSON.stringify(operation) };
    return this.#call.issue(this.#call.root, cached, (answer) => finish(answer, receive));
  }
}
