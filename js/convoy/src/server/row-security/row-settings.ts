/**
 * The result of `rls.settings` as Postgres stores it: custom parameters, whose values are text. Throws a `TypeError` that
 * names the setting; nothing is left out or cut off, since policies decide by it.
 */

import { isPlainObject } from '../../values/kind.js';
import { storageProblem } from '../../values/storable-json.js';
import { inspectValue } from '../argument-errors.js';

/** Settings by name. */
export type SettingTexts = Readonly<Record<string, string>>;

/** They are sent with the first statement of each transaction. */
const MAX_SETTINGS = 32;
const MAX_VALUE_BYTES = 8 << 10;

/** Each part of the name of a custom parameter, as Postgres has it. */
const NAME_PART = /^[A-Za-z_][A-Za-z0-9_$]*$/;

/** The first parts that Convoy uses for its own parameters. */
const OWN_PREFIXES: ReadonlySet<string> = new Set(['convoy', '_convoy']);

/** Checks the settings that the application has returned. */
export function settingTexts(made: unknown): SettingTexts {
  if (!isPlainObject(made)) {
    throw new TypeError(
      `rls.settings returned ${inspectValue(made)}; return an object of settings, as in { 'app.user': ctx.auth.user?.id }.`,
    );
  }
  const entries = Object.entries(made);
  if (entries.length > MAX_SETTINGS) {
    throw new TypeError(
      `rls.settings returned ${entries.length} settings, and ${MAX_SETTINGS} are the most. Put several values into one, ` +
        'as JSON: policies read it with current_setting(…)::jsonb.',
    );
  }
  const names = new Map<string, string>();
  for (const [name] of entries) {
    assertName(name);
    const folded = name.toLowerCase();
    const other = names.get(folded);
    if (other !== undefined) {
      throw new TypeError(`rls.settings returned ${other} and ${name}, which are one setting: Postgres ignores case.`);
    }
    names.set(folded, name);
  }
  return Object.fromEntries(entries.map(([name, value]) => [name, textOf(name, value)]));
}

function assertName(name: string): void {
  const parts = name.split('.');
  if (parts.length < 2 || !parts.every((part) => NAME_PART.test(part))) {
    throw new TypeError(
      `rls.settings returned ${JSON.stringify(name)}, which is not the name of a custom setting: names joined by dots, ` +
        'each of letters, digits, _ and $, as in app.user.',
    );
  }
  if (OWN_PREFIXES.has((parts[0] as string).toLowerCase())) {
    throw new TypeError(`rls.settings returned ${name}, but ${parts[0]}.… is Convoy's own. Begin with another name.`);
  }
}

function textOf(name: string, value: unknown): string {
  // What `current_setting` returns for a custom setting that an earlier transaction of the connection has had.
  if (value === null || value === undefined) return '';
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return String(value);
  if (typeof value !== 'string') {
    throw new TypeError(
      `rls.settings: ${name} is ${inspectValue(value)}; give a text, a finite number, a boolean or null. Send lists and ` +
        'objects as text: JSON.stringify(…).',
    );
  }
  const problem = storageProblem(value);
  if (problem !== null) throw new TypeError(`rls.settings: ${name} ${problem.reason}.`);
  const bytes = Buffer.byteLength(value);
  if (bytes > MAX_VALUE_BYTES) {
    throw new TypeError(
      `rls.settings: ${name} has ${bytes} bytes, and ${MAX_VALUE_BYTES} are the most. Store long values in a table, which ` +
        'policies read by a key in a setting.',
    );
  }
  return value;
}
