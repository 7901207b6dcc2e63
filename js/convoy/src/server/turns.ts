/**
 * Turns of calls that run one after another in a transaction: the engine sends the answers to their first operations
 * together, and each call receives its own when the one before it has ended. This saves a way to the engine's thread and
 * back for each. The answers are documents as they were before the first turn, so a call receives those that earlier
 * ones have patched as the patches have left them. Only calls that read documents and hold patches can have turns here.
 */

import { formatId } from '../values/ids.js';
import type { Answer } from './batches.js';
import type { Document } from './documents.js';
import type { Operation } from './operations.js';
import { parseJson } from './parse-json.js';

/** The answers to one batch of a call, which has only read documents that exist. */
export interface Turn {
  readonly call: number;
  readonly batch: number;
  readonly answers: readonly DocumentAnswer[];
}

interface DocumentAnswer extends Answer {
  readonly ok: Document;
}

export class Turns {
  readonly #turns: readonly Turn[];
  #next = 0;
  /** By id: copies of the documents that the last call has received, and of all that were patched. */
  readonly #documents = new Map<string, Document>();
  readonly #patched = new Set<string>();

  constructor(turns: readonly Turn[]) {
    this.#turns = turns;
  }

  /** Parses the JSON of `Turn[]`. */
  static parse(text: string): Turns {
    return new Turns(parseJson(text) as Turn[]);
  }

  /** The next turn, with the documents as they are now; `null` after the last. */
  next(): Turn | null {
    const turn = this.#turns[this.#next++];
    return turn === undefined ? null : { ...turn, answers: turn.answers.map((answer) => this.#current(answer)) };
  }

  /** Applies the held writes of the call that had the last turn. A document that it inserts is in no answer. */
  end(writes: readonly Operation[]): void {
    for (const write of writes) {
      if (write.op !== 'patch') continue;
      const id = formatId(write.table, write.id);
      const document = this.#documents.get(id);
      // A held patch has plain values only, and of a document that its call has read.
      if (document !== undefined) this.#documents.set(id, { ...document, ...(write.set as Document) });
      this.#patched.add(id);
    }
  }

  #current(answer: DocumentAnswer): DocumentAnswer {
    const id = String(answer.ok.id);
    const patched = this.#patched.has(id) ? this.#documents.get(id) : undefined;
    // The handler may change the document that it receives.
    if (patched !== undefined) return { ok: { ...patched } };
    this.#documents.set(id, { ...answer.ok });
    return answer;
  }
}
