/** Checks the options of `jwt` when the program is loaded, so that a mistake shows before the first token. */

import type { JSONWebKeySet } from 'jose';
import { BOOLEAN, FUNCTION, listLike, type OptionRule, type OptionRules } from '../options.js';
import type { Claims } from './claims.js';
import { fetchableUrl } from './fetch-json.js';
import { type KeySet, type KeySource, signingKeys } from './key-set.js';
import { discoveredKeys, RemoteKeys } from './remote-keys.js';

/** The options that apply to tokens of any issuer. */
export interface TokenOptions {
  /** Names of claims that a token must have, beside `iss`, `sub` and `exp`. */
  readonly requiredClaims?: readonly string[];
  /**
   * Whether to accept a token whose checks have passed; otherwise the call fails with `UNAUTHORIZED`. Any result but true
   * and false, such as a promise, is an error.
   */
  readonly validate?: (claims: Claims) => boolean;
  /**
   * Seconds by which the clock of the issuer may be ahead of this one, at most 60; default 5. Applies to `iat` and `nbf`.
   * The expiry of a token is exact, because Convoy ends live queries at that time.
   */
  readonly clockTolerance?: number;
  /**
   * A text that is put before `sub` to make the id of the user: `auth0:`. Two issuers may use one `sub` for different
   * users, so an application with several needs it. Default: none.
   */
  readonly idPrefix?: string;
  /** Also fetches keys over HTTP from hosts other than this one, in a network that you trust. */
  readonly allowHttp?: boolean;
}

/** What the options of `TokenOptions` must be. */
export const TOKEN_OPTIONS: OptionRules<TokenOptions> = {
  requiredClaims: listLike("['email']"),
  validate: FUNCTION,
  clockTolerance: {
    must: 'a number between 0 and 60 seconds',
    holds: (value) => typeof value === 'number' && value >= 0 && value <= 60,
  },
  idPrefix: { must: 'a text, as in `auth0:`', holds: (value) => typeof value === 'string' },
  allowHttp: BOOLEAN,
};

/** What the option `secret` must be. Its length and content are checked with the other settings. */
export const SECRET: OptionRule = {
  must: 'a text or a Uint8Array',
  holds: (value) => typeof value === 'string' || value instanceof Uint8Array,
  isFromEnvironment: true,
  isSecret: true,
};

/** What the option `jwks` must be. */
export const KEYS: OptionRule = {
  must: 'the URL of the keys, or an object with the list `keys`',
  holds: (value) => typeof value === 'string' || value instanceof URL || hasKeys(value),
};

function hasKeys(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Array.isArray((value as Partial<JSONWebKeySet>).keys);
}

/** What a token is checked against. */
export interface JwtSettings {
  readonly issuers: readonly string[];
  readonly audience: readonly string[] | null;
  readonly authorizedParties: readonly string[] | null;
  readonly keys: KeySource;
  readonly algorithms: readonly string[];
  /** Media types of the header `typ`, in lower case and without `application/`. */
  readonly types: readonly string[];
  readonly requiredClaims: readonly string[];
  readonly validate: (claims: Claims) => boolean;
  readonly clockTolerance: number;
  /** What precedes `sub` in the id of a user. */
  readonly idPrefix: string;
}

/** Options that are of the right types; what they say has not been checked. */
export interface UncheckedSettings extends TokenOptions {
  readonly issuer: string | readonly string[];
  readonly audience?: string | readonly string[] | undefined;
  readonly authorizedParties?: readonly string[] | undefined;
  readonly jwks?: string | URL | JSONWebKeySet | undefined;
  readonly secret?: string | Uint8Array | undefined;
  readonly algorithms?: readonly string[] | undefined;
  readonly types?: readonly string[] | undefined;
}

/** The algorithms of each kind of key. A token never decides which kind of key verifies it. */
const ASYMMETRIC = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];
const SYMMETRIC = ['HS256', 'HS384', 'HS512'];

/** The shortest secret: RFC 7518 requires as many bytes as the hash has, and that of HS256 has 32. */
export const MIN_SECRET_BYTES = 32;

/** The settings for tokens that name their audience; throws a `TypeError` for options that would accept others. */
export function boundSettings(options: UncheckedSettings): JwtSettings {
  const settings = settingsOf(options);
  if (settings.audience === null && settings.authorizedParties === null) {
    throw new TypeError(
      'Set `audience` (the claim `aud`) or `authorizedParties` (the claim `azp`). Without either, tokens that the ' +
        'issuer has made for other applications would sign in to this one.',
    );
  }
  return settings;
}

/** The settings for an issuer whose tokens are all for this application. */
export function settingsOf(options: UncheckedSettings): JwtSettings {
  const issuers = listOf(options.issuer, 'issuer') ?? [];
  const { clockTolerance = 5, allowHttp = false, idPrefix = '' } = options;
  return {
    issuers,
    audience: listOf(options.audience, 'audience'),
    authorizedParties: listOf(options.authorizedParties, 'authorizedParties'),
    keys: keySource(options, issuers, allowHttp),
    algorithms: algorithmsOf(options),
    types: (options.types ?? ['jwt', 'at+jwt']).map(mediaType),
    requiredClaims: options.requiredClaims ?? [],
    validate: options.validate ?? (() => true),
    clockTolerance,
    idPrefix,
  };
}

/** A media type in the short form of tokens. */
export function mediaType(type: string): string {
  return type.toLowerCase().replace(/^application\//, '');
}

function listOf(value: string | readonly string[] | undefined, name: string): readonly string[] | null {
  if (value === undefined) return null;
  const list: readonly unknown[] = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(list) || list.length === 0 || !list.every((each) => typeof each === 'string' && each !== '')) {
    throw new TypeError(
      `\`${name}\` must be a text, or a list of texts, and not empty. Is an environment variable unset?`,
    );
  }
  return list;
}

function algorithmsOf({ secret, algorithms }: UncheckedSettings): readonly string[] {
  const [possible, standard] = secret === undefined ? [ASYMMETRIC, ASYMMETRIC] : [SYMMETRIC, ['HS256']];
  const wrong = algorithms?.filter((each) => !possible.includes(each)) ?? [];
  if (wrong.length > 0 || algorithms?.length === 0) {
    const key = secret === undefined ? 'public keys' : 'a secret';
    const given = wrong.length > 0 ? wrong.join(', ') : 'an empty list';
    throw new TypeError(`\`algorithms\` may contain ${possible.join(', ')} with ${key}; ${given} was given.`);
  }
  return algorithms ?? standard;
}

function keySource(options: UncheckedSettings, issuers: readonly string[], allowHttp: boolean): KeySource {
  const { jwks, secret } = options;
  const [issuer = ''] = issuers;
  if (secret !== undefined) {
    if (jwks !== undefined) throw new TypeError('Set `secret` or `jwks`, not both.');
    return fixedKeys(secretKey(secret));
  }
  if (jwks === undefined) return discoveredKeys(issuer, allowHttp);
  if (typeof jwks === 'string' || jwks instanceof URL) {
    const url = fetchableUrl(jwks, '`jwks`', allowHttp);
    return new RemoteKeys(issuer, async () => url);
  }
  return fixedKeys(givenKeys(jwks));
}

function givenKeys(jwks: JSONWebKeySet): KeySet {
  try {
    return signingKeys(jwks);
  } catch (error) {
    throw new TypeError(`\`jwks\` cannot be used: ${(error as Error).message}.`, { cause: error });
  }
}

function fixedKeys(keys: KeySet): KeySource {
  return { current: async () => keys, newerThan: async () => keys };
}

function secretKey(secret: string | Uint8Array): KeySet {
  const bytes = typeof secret === 'string' ? new TextEncoder().encode(secret) : secret;
  const text = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart();
  if (text.startsWith('-----BEGIN') || text.startsWith('{')) {
    throw new TypeError(
      '`secret` is a key in PEM or JSON. Public keys belong into `jwks`; as a secret, anyone could sign with them.',
    );
  }
  if (bytes.length < MIN_SECRET_BYTES) {
    throw new TypeError(
      `\`secret\` must have at least ${MIN_SECRET_BYTES} bytes; shorter ones can be guessed from one token. ` +
        'Is an environment variable unset?',
    );
  }
  return { find: (async () => bytes) as KeySet['find'] };
}
