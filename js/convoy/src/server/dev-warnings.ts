/**
 * Development warnings about code that works but is probably a mistake: once for each function and message, through
 * `console.warn`. Not used in production.
 */

import { strippedKeys } from '../schema/index.js';
import type { Call } from './call.js';
import type { Program, Table } from './program.js';

/** The warnings given so far, by program: reloaded code may cause them again. */
const GIVEN_WARNINGS = new WeakMap<Program, Set<string>>();

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
    const given = GIVEN_WARNINGS.get(this.#program) ?? new Set();
    GIVEN_WARNINGS.set(this.#program, given);
    if (given.has(text)) return;
    given.add(text);
    console.warn(text);
  }

  /** Warns about keys of a document that are not stored. */
  stripped(table: Table, document: unknown): void {
    for (const key of strippedKeys(table.definition.schema, document)) {
      if (key === 'id' || key === '_creationTime') continue;
      this.warn(`\`${key}\` is not in the schema of ${table.name}, so it is not stored. Is it misspelled?`);
    }
  }

  /** Tracks the steps of a new query, to warn about those whose result is discarded. In 0.0.1 they had an effect. */
  watchSteps(table: string): Steps {
    const steps = new Steps();
    this.#call.onEnd(() => {
      for (const name of steps.discarded()) {
        this.warn(
          `the result of .${name}() was discarded, so it had no effect on the query of ${table}. ` +
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
  /** Whether another builder was made from it, or it was executed. */
  used: boolean;
}

/** All builders made from one `query(table)`. */
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

  /** The unused steps of an executed query. A query that is never executed is not reported. */
  discarded(): string[] {
    return this.#executed ? this.#steps.filter(({ used }) => !used).map(({ name }) => name) : [];
  }
}
