/**
 * Which Postgres role an operation runs under, in a program with row-level security: that of the connection, or that of
 * clients, with the settings of the caller. The engine refuses an operation that says neither.
 *
 * The settings are made once per call, before its first operation under the role, from the context that handlers get: so
 * what they read of it is recorded. If they cannot be made, no operation under the role is sent.
 */

import { ignore, isThenable } from '../observed-promise.js';
import type { DataOperation, RoleMarks } from '../operations.js';
import type { Run } from '../run.js';
import { withBase } from '../validate-context.js';
import { type SettingTexts, settingTexts } from './row-settings.js';

/** The role of the operations of one database. */
export interface OperationRole {
  /** Whose view of the documents it has. What one has read says nothing about what the other may see. */
  readonly reader: Reader;
  /** What an operation says about its role. Throws if that cannot be determined. */
  marks(): RoleMarks;
}

export type Reader = 'system' | 'client';

/** The role of the connection. */
export const SYSTEM_ROLE: OperationRole = {
  reader: 'system',
  marks: () => SYSTEM_MARKS,
};

const SYSTEM_MARKS: RoleMarks = { system: true };

/** The settings of a call, as far as they are made. */
export type CallSettings = { readonly marks: RoleMarks } | { readonly error: unknown };

/** While the settings are being made. */
const MAKING: CallSettings = {
  error: new TypeError(
    'rls.settings used the ctx.db of a handler, but the database has to know the settings first. Look up in createContext ' +
      'what they need.',
  ),
};

/** The role of clients, for the database of one run. */
export class ClientRole implements OperationRole {
  readonly reader = 'client';
  readonly #run: Run;
  readonly #now: (everyMs?: number) => number;

  /** `now` is the clock of the run. */
  constructor(run: Run, now: (everyMs?: number) => number) {
    this.#run = run;
    this.#now = now;
  }

  marks(): RoleMarks {
    const { call } = this.#run;
    if (call.rowSettings === null) {
      call.rowSettings = MAKING;
      call.rowSettings = this.#make();
    }
    if ('error' in call.rowSettings) throw call.rowSettings.error;
    return call.rowSettings.marks;
  }

  #make(): CallSettings {
    try {
      return { marks: { settings: this.#settings() } };
    } catch (error) {
      return { error };
    }
  }

  #settings(): SettingTexts {
    const { program, context, observer } = this.#run;
    if (program.rls === null) throw new Error('The program has no row-level security.');
    const ctx = withBase(context ?? {}, { ...NO_OPERATIONS, now: this.#now });
    const made: unknown = program.rls.settings(observer === null ? ctx : observer.view(ctx));
    if (!isThenable(made)) return settingTexts(made);
    new Promise((resolve) => resolve(made)).catch(ignore);
    throw new TypeError(
      'rls.settings returned a promise, but it is synchronous. Look up in createContext what it needs.',
    );
  }
}

/** `operation` under `role`; as it is in a program without row-level security. Throws if the role cannot be determined. */
export function underRole<Op extends DataOperation>(role: OperationRole | null, operation: Op): Op {
  return role === null ? operation : { ...operation, ...role.marks() };
}

/** The base of the context of `rls.settings`, but for the clock. */
const NO_OPERATIONS = {
  db: new Proxy({}, { get: (_target, key) => (isAskedOfAll(key) ? undefined : refuse(`db.${String(key)}`)) }),
  runQuery: () => refuse('runQuery'),
  runMutation: () => refuse('runMutation'),
  runAction: () => refuse('runAction'),
};

/** Whether `JSON.stringify`, `await` or the language itself may ask an object for `key`. */
function isAskedOfAll(key: string | symbol): boolean {
  return typeof key === 'symbol' || key === 'toJSON' || key === 'then';
}

function refuse(member: string): never {
  throw new TypeError(
    `rls.settings used ctx.${member}, but the database has to know the settings first. Look up in createContext what they ` +
      'need.',
  );
}
