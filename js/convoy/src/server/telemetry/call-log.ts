/** `ctx.log`: one line of the log of the process for each call of a method. Never throws, and never waits. */

import type { Log, LogLine } from '../contexts.js';
import type { Run } from '../run.js';
import { logFields, logMessage } from './log-fields.js';

/** The levels, in rising order. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** The maximum size of the JSON of a message. */
export const MAX_MESSAGE_BYTES = 4 << 10;

export class CallLog implements Log {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  // Getters, so that a method also works on its own: `const { info } = ctx.log`.
  get debug(): LogLine {
    return this.#line('debug');
  }

  get info(): LogLine {
    return this.#line('info');
  }

  get warn(): LogLine {
    return this.#line('warn');
  }

  get error(): LogLine {
    return this.#line('error');
  }

  #line(level: LogLevel): LogLine {
    const { call, fn, program } = this.#run;
    return (message, fields) => {
      if (level === 'debug' && !program.dev && !isDebugging()) return;
      call.engine.log(call.id, level, fn.name, logMessage(message, MAX_MESSAGE_BYTES), logFields(fields));
    };
  }
}

/** As the engine reads the variable. */
function isDebugging(): boolean {
  const { CONVOY_DEBUG: value } = process.env;
  return value !== undefined && value !== '' && value !== '0';
}
