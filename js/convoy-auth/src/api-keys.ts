/**
 * `apiKeys`: keys for programs, which the application creates and stores as hashes.
 *
 * A key is `<prefix>_<43 characters><6 characters>`: 256 random bits in base 62, and a checksum of all before it, so that
 * a mistyped key, or one of another application, costs no lookup. The key cannot be guessed, so one SHA-256 suffices; the
 * lookup by its hash reveals nothing about a key by the time it takes, and takes the same time for all keys.
 */

import { createHash, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { crc32 } from 'node:zlib';
import type { AuthUser } from '@avvos/convoy';
import { type AuthAdapter, defineAdapter } from './adapter.js';
import { bearerToken, headerToken } from './credentials.js';
import { CHECKED_LATER, checkOptions, FUNCTION, kindOf, type OptionRules, required, shown } from './options.js';
import { unauthorized } from './refusals.js';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 62 ** 43 is more than 2 ** 256. */
const RANDOM_CHARS = 43;
/** 62 ** 6 is more than 2 ** 32. */
const CHECKSUM_CHARS = 6;

/** The longest prefix. */
export const MAX_PREFIX_CHARS = 32;

/** A new API key. */
export interface CreatedApiKey {
  /** The key, to be shown to its owner once. */
  readonly key: string;
  /** Its SHA-256 as 64 hexadecimal digits, to be stored. */
  readonly hash: string;
}

/** What the application has stored about a key. */
export interface FoundApiKey<User extends AuthUser = AuthUser> {
  /** The user in whose name the key acts. */
  readonly user: User;
  /** When the key expires, in milliseconds since 1970. */
  readonly expiresAt?: number | null | undefined;
  /** When the key was revoked, in milliseconds since 1970. */
  readonly revokedAt?: number | null | undefined;
}

/** The options of `apiKeys`. */
export interface ApiKeysOptions<User extends AuthUser, Base> {
  /** The prefix of the keys, as passed to `createApiKey`. */
  readonly prefix: string;
  /** The header that carries a key, if `authorization` does not. Default: `x-api-key`. */
  readonly header?: string;
  /**
   * Finds a key by its hash; `null` if there is none. `base` is that of `createContext`: what it reads is tracked, so a
   * key that is deleted ends its live queries.
   */
  readonly find: (hash: string, base: Base) => Promise<FoundApiKey<User> | null>;
}

/** A name, as HTTP defines it. */
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]+$/;

const OPTIONS: OptionRules<ApiKeysOptions<AuthUser, unknown>> = {
  prefix: CHECKED_LATER,
  header: {
    must: 'the name of a header, as in `x-api-key`',
    holds: (value) => typeof value === 'string' && HEADER_NAME.test(value),
    isFromEnvironment: true,
  },
  find: required(FUNCTION),
};

/** Creates a key. Store the hash; the key itself cannot be shown again. */
export function createApiKey(options: { readonly prefix: string }): CreatedApiKey {
  checkOptions<typeof options>('createApiKey({ … })', options, { prefix: CHECKED_LATER });
  const body = `${checkedPrefix(options.prefix)}_${randomText(RANDOM_CHARS)}`;
  const key = body + checksumOf(body);
  return { key, hash: hashApiKey(key) };
}

/** The hash of a key, as `createApiKey` returns it and `find` receives it. */
export function hashApiKey(key: string): string {
  if (typeof key !== 'string') throw new TypeError(`hashApiKey takes the text of a key, not ${kindOf(key)}.`);
  return createHash('sha256').update(key).digest('hex');
}

/**
 * Accepts API keys, as `Authorization: Bearer <key>` or `x-api-key: <key>`.
 *
 * @example
 * const auth = apiKeys({ prefix: 'acme', find: async (hash, base: ServerContext) => … });
 */
export function apiKeys<User extends AuthUser, Base = unknown>(
  options: ApiKeysOptions<User, Base>,
): AuthAdapter<User, Base> {
  checkOptions('apiKeys({ … })', options, OPTIONS);
  const { find, header = 'x-api-key' } = options;
  const prefix = checkedPrefix(options.prefix);
  const name = header.toLowerCase();
  return defineAdapter<User, Base>({
    accepts: `an API key ${prefix}_…`,
    headers: ['authorization', name],
    securitySchemes: {
      apiKey: {
        type: 'apiKey',
        in: 'header',
        name: header,
        description: `A key that begins with \`${prefix}_\`. In place of this header, it may also be a bearer token.`,
      },
    },
    async identify(req, base) {
      const key = headerToken(req, name) ?? bearerKey(bearerToken(req), prefix);
      if (key === null) return null;
      if (!isWellFormed(key, prefix)) {
        throw unauthorized('The API key is malformed: part of it is missing, or it is not one of this application.');
      }
      const found: FoundApiKey<User> | null | undefined = await find(hashApiKey(key), base);
      if (found === undefined) {
        throw new TypeError(
          'apiKeys: `find` returned undefined. Return null for a key that does not exist, and `{ user }` for a good one.',
        );
      }
      if (found === null) throw unauthorized('The API key does not exist.');
      const expiresAt = timeIn(found, 'expiresAt');
      const revokedAt = timeIn(found, 'revokedAt');
      if (revokedAt <= Date.now()) throw unauthorized('The API key was revoked.');
      if (expiresAt <= Date.now()) throw unauthorized('The API key has expired.');
      // A revocation in the future ends live queries, too.
      const ends = Math.min(expiresAt, revokedAt);
      const { user } = found;
      return ends === Number.POSITIVE_INFINITY ? { user } : { user, expiresAt: ends };
    },
  });
}

/** A time that `find` has returned; infinity if there is none. A time in another form, as rows have it, is a mistake. */
function timeIn(found: FoundApiKey, name: 'expiresAt' | 'revokedAt'): number {
  const time: unknown = found[name];
  if (time === undefined || time === null) return Number.POSITIVE_INFINITY;
  if (typeof time === 'number' && Number.isFinite(time)) return time;
  throw new TypeError(
    `apiKeys: \`${name}\` of the key that \`find\` returned is ${inspect(time)}; return milliseconds since 1970, as in ` +
      `\`key.${name}.getTime()\`, or null.`,
  );
}

function bearerKey(token: string | null, prefix: string): string | null {
  return token?.startsWith(`${prefix}_`) ? token : null;
}

function isWellFormed(key: string, prefix: string): boolean {
  const body = key.slice(0, -CHECKSUM_CHARS);
  return (
    key.startsWith(`${prefix}_`) &&
    key.length === prefix.length + 1 + RANDOM_CHARS + CHECKSUM_CHARS &&
    /^[0-9A-Za-z]+$/.test(key.slice(prefix.length + 1)) &&
    key.slice(-CHECKSUM_CHARS) === checksumOf(body)
  );
}

function checkedPrefix(prefix: unknown): string {
  const isGood = typeof prefix === 'string' && /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(prefix);
  if (isGood && prefix.length <= MAX_PREFIX_CHARS) return prefix;
  throw new TypeError(
    `The prefix of an API key consists of lower-case letters, digits and single underscores, at most ${MAX_PREFIX_CHARS}, as in \`acme_live\`; ${shown(prefix)} was given.`,
  );
}

function checksumOf(body: string): string {
  let text = '';
  let rest = crc32(body);
  for (let at = 0; at < CHECKSUM_CHARS; at++) {
    text = DIGITS[rest % DIGITS.length] + text;
    rest = Math.floor(rest / DIGITS.length);
  }
  return text;
}

function randomText(length: number): string {
  // Bytes from 248 would make the first digits more likely.
  const limit = 256 - (256 % DIGITS.length);
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < limit && text.length < length) text += DIGITS[byte % DIGITS.length];
    }
  }
  return text;
}
