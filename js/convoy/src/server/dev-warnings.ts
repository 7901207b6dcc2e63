/**
 * What `convoy dev` says of queries that work but are hardly meant: once for each function and message, through
 * `console.warn`. In production none of this exists.
 */

import { strippedKeys } from '../schema/index.js';
import type { Call } from './call.js';
import type { Program, Table } from './program.js';

/** What was said already; code that is loaded again may be warned of again. */
const SAID = new WeakMap<Program, Set<string>>();

/** The warnings of one function, in one call. */
export class DevWarnings {
  readonly #program: Program;
  readonly #call: Call;
  readonly #functionName: string | null;

  constructor(program: Program, call: Call, functionName: string | null) {
    this.#program = program;
    this.#call = call;
    this.#functionName = functionName;
  }

  warn(message: string): void {
    const text = `convoy: ${this.#functionName === null ? '' : `${this.#functionName}: `}${message}`;
    const said = SAID.get(this.#program) ?? new Set();
    SAID.set(this.#program, said);
    if (said.has(text)) return;
    said.add(text);
    console.warn(text);
  }

  /** Says which keys of a document are not stored. */
  stripped(table: Table, document: unknown): void {
    for (const key of strippedKeys(table.definition.schema, document)) {
      if (key === 'id' || key === '_creationTime') continue;
      this.warn(`\`${key}\` is not in the schema of ${table.name}, so it is not stored. Is it misspelled?`);
    }
  }

  /** Watches a new query for steps whose result is thrown away, which once had an effect. */
  watchSteps(table: string): Steps {
    const steps = new Steps();
    this.#call.atEnd(() => {
      for (const name of steps.thrownAway()) {
        this.warn(
          `the result of .${name}() was thrown away, so it did nothing to the query of ${table}. ` +
            `Steps return a new query: q = q.${name}(…).`,
        );
      }
    });
    return steps;
  }
}

/** One builder of a query. */
export interface Step {
  readonly name: string;
  /** Whether something was made of it: another builder, or a result. */
  used: boolean;
}

/** All builders that were made of one `query(table)`. */
export class Steps {
  readonly #steps: Step[] = [];
  #executed = false;

  add(name: string): Step {
    const step = { name, used: false };
    this.#steps.push(step);
    return step;
  }

  executed(step: Step): void {
    step.used = true;
    this.#executed = true;
  }

  /** The steps nothing was made of. Only a query that was run tells: one that was not may have been built in vain. */
  thrownAway(): string[] {
    return this.#executed ? this.#steps.filter(({ used }) => !used).map(({ name }) => name) : [];
  }
}
