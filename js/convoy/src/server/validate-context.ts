/** Checks the result of `createContext` before it is used. */

import { ConvoyError } from '../values/errors.js';
import { CallLog } from './telemetry/call-log.js';

/** The lowest plausible `expiresAt` (the year 1973). Lower values are seconds, as in tokens, up to the year 5138. */
const MIN_EPOCH_MS = 100_000_000_000;

/** Returns `made` if it is an object, and throws otherwise. */
export function assertContext(made: unknown): object {
  if (typeof made === 'object' && made !== null) return made;
  throw new TypeError('createContext must return an object: return { ...base, … }.');
}

/** Throws if a context has another `db` than its base: neither access rules nor row-level security would apply to it. */
export function assertOwnDatabase(context: object, base: object): void {
  const property = Object.getOwnPropertyDescriptor(context, 'db');
  if (property === undefined || property.value === (base as { readonly db?: unknown }).db) return;
  throw new TypeError(
    'createContext returned another `db` than that of its base, to which neither access rules nor row-level security apply. ' +
      'Return { ...base, … } and add your object under another name, or take the rules from the schema and `rls` from the ' +
      'program.',
  );
}

/**
 * A copy of `context` with the members of `base` in place of those of its old base. Calls no getter. A `log` that
 * createContext has added stays.
 */
export function withBase(context: object, base: object): object {
  const members = Object.getOwnPropertyDescriptors(context);
  const own = (members as { readonly log?: PropertyDescriptor }).log;
  return Object.defineProperties(Object.create(Object.getPrototypeOf(context)), {
    ...members,
    ...Object.getOwnPropertyDescriptors(base),
    ...(own === undefined || own.value instanceof CallLog ? {} : { log: own }),
  });
}

/**
 * The `expiresAt` of a context, in milliseconds since 1970; `null` if it has none. Throws `UNAUTHORIZED` if that time has
 * passed.
 */
export function expiryOf(context: object): number | null {
  const { expiresAt } = context as { readonly expiresAt?: unknown };
  if (expiresAt === undefined || expiresAt === null || expiresAt === Number.POSITIVE_INFINITY) return null;
  if (typeof expiresAt !== 'number' || Number.isNaN(expiresAt) || (expiresAt > 0 && expiresAt < MIN_EPOCH_MS)) {
    throw new TypeError(
      'createContext: expiresAt must be in milliseconds since 1970; convert a time in seconds, as in ' +
        `\`payload.exp * 1000\`. ${String(expiresAt)} was given.`,
    );
  }
  if (expiresAt <= Date.now()) throw new ConvoyError('UNAUTHORIZED', 'The credentials have expired; send a new token.');
  return expiresAt;
}
