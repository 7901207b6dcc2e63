/** The option `rls`: the Postgres role under which the calls of clients run, and the settings that its policies read. */

import { storageProblem } from '../../values/storable-json.js';
import { inspectValue } from '../argument-errors.js';

/** The settings of one caller by name, such as `{ 'app.user': '42' }`. `null` and `undefined` are the empty text. */
export type RowSettings = Readonly<Record<string, string | number | boolean | null | undefined>>;

/**
 * Row-level security of Postgres, exported as `rls` by `convoy/server.ts`: the statements of a client's call run under
 * `role`, with the result of `settings` as settings of the transaction. `Context` is that of handlers, the generated
 * `AppContext`.
 */
// biome-ignore lint/suspicious/noExplicitAny: without an argument, the context may be any, as in `CreateContext`.
export interface RowLevelSecurity<Context = any> {
  /** A role to which the policies of the tables apply, and to which the login of the connection may switch. */
  readonly role: string;
  /**
   * The settings of a caller, which policies read by `current_setting('app.user', true)`. Called once per call, before its
   * first statement under the role. Synchronous, without the database: look up in `createContext` what it needs.
   */
  readonly settings: (ctx: Context) => RowSettings;
}

const MEMBERS: ReadonlySet<string> = new Set<keyof RowLevelSecurity>(['role', 'settings']);

/** The longest name in Postgres, which cuts off the rest. */
export const MAX_ROLE_BYTES = 63;

/** Roles that no one can create: Postgres reserves the names. */
const RESERVED_ROLE = /^(none|public|pg_.*)$/s;

/** Returns `rls`, or `null` without it. Throws a `TypeError` if it is malformed. */
export function checkedRowLevelSecurity(rls: unknown): RowLevelSecurity | null {
  if (rls === undefined) return null;
  const example = "rls is { role: 'app_user', settings: (ctx) => ({ 'app.user': ctx.auth.user?.id }) }";
  if (typeof rls !== 'object' || rls === null) {
    throw new TypeError(`The option rls is ${inspectValue(rls)}, which has no role. ${example}.`);
  }
  const unknown = Object.keys(rls).find((name) => !MEMBERS.has(name));
  if (unknown !== undefined)
    throw new TypeError(`The option rls has no member ${JSON.stringify(unknown)}. ${example}.`);
  const { role, settings } = rls as Partial<RowLevelSecurity>;
  if (typeof role !== 'string' || role === '' || storageProblem(role) !== null) {
    throw new TypeError(`rls.role is ${inspectValue(role)}; give the name of a Postgres role. ${example}.`);
  }
  if (Buffer.byteLength(role) > MAX_ROLE_BYTES) {
    throw new TypeError(
      `rls.role has ${Buffer.byteLength(role)} bytes, and Postgres cuts off names after ${MAX_ROLE_BYTES}. Choose a ` +
        'shorter name.',
    );
  }
  if (RESERVED_ROLE.test(role)) {
    throw new TypeError(
      `rls.role is ${JSON.stringify(role)}, a name that Postgres reserves. Create a role of your own for the calls of ` +
        'clients: create role app_user nologin.',
    );
  }
  if (typeof settings !== 'function') {
    throw new TypeError(`rls.settings is ${inspectValue(settings)}; give a function of the context. ${example}.`);
  }
  return rls as RowLevelSecurity;
}
