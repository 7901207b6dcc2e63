/** `jwt`: bearer tokens of any issuer. The presets of providers are this, with their rules. */

import type { AuthUser } from '@avvos/convoy';
import type { JSONWebKeySet } from 'jose';
import { type AuthAdapter, defineAdapter } from '../adapter.js';
import { bearerToken } from '../credentials.js';
import {
  CHECKED_LATER,
  checkOptions,
  FUNCTION,
  filledListLike,
  listLike,
  type OptionRules,
  required,
  textLike,
} from '../options.js';
import { jwtScheme } from '../security-schemes.js';
import { type Claims, type JwtUser, standardUser } from './claims.js';
import { boundSettings, type JwtSettings, KEYS, SECRET, TOKEN_OPTIONS, type TokenOptions } from './settings.js';
import { TokenVerifier } from './verify.js';

/** The options of `jwt`. */
export interface JwtOptions<User extends AuthUser = JwtUser> extends TokenOptions {
  /** The claim `iss`, exactly as the tokens have it; a trailing slash matters. */
  readonly issuer: string;
  /** Accepted values of the claim `aud`. This or `authorizedParties` is mandatory. */
  readonly audience?: string | readonly string[];
  /** Accepted values of the claim `azp`: the clients that tokens were made for. */
  readonly authorizedParties?: readonly string[];
  /**
   * The public keys: their URL, or the keys themselves. Without this and without `secret`, they are found by the issuer's
   * `/.well-known/openid-configuration`.
   */
  readonly jwks?: string | URL | JSONWebKeySet;
  /** The secret of tokens that are signed with HMAC; at least 32 bytes. */
  readonly secret?: string | Uint8Array;
  /** Accepted algorithms. Default: all that public keys are for, or `HS256` with a `secret`. */
  readonly algorithms?: readonly string[];
  /** Accepted values of the header `typ`; without the header, a token counts as `JWT`. Default: `JWT` and `at+jwt`. */
  readonly types?: readonly string[];
  /** The user of a token. `standard` is the user by default. Runs for every call, so it must be quick. */
  readonly user?: (claims: Claims, standard: JwtUser) => User;
}

const OPTIONS: OptionRules<JwtOptions> = {
  issuer: required(textLike('https://login.example.com')),
  audience: CHECKED_LATER,
  authorizedParties: CHECKED_LATER,
  jwks: KEYS,
  secret: SECRET,
  algorithms: listLike("['RS256']"),
  types: filledListLike("['JWT']"),
  user: FUNCTION,
  ...TOKEN_OPTIONS,
};

/**
 * Accepts bearer tokens that an issuer has signed.
 *
 * @example
 * const auth = jwt({ issuer: 'https://login.example.com', audience: 'https://api.example.com' });
 */
export function jwt<User extends AuthUser = JwtUser>(options: JwtOptions<User>): AuthAdapter<User> {
  checkOptions('jwt({ … })', options, OPTIONS);
  return tokenAdapter(boundSettings(options), standardUser, options.user);
}

/** The adapter for tokens with these settings. `standard` is the user of a token, which `custom` may replace. */
export function tokenAdapter<Standard extends AuthUser, User extends AuthUser>(
  settings: JwtSettings,
  standard: (claims: Claims) => Standard,
  custom: ((claims: Claims, standard: Standard) => User) | undefined,
): AuthAdapter<User> {
  const verifier = new TokenVerifier(settings);
  // Without `custom`, `User` is its default, `Standard`.
  const userOf = custom ?? ((_: Claims, user: Standard) => user as unknown as User);
  const issuers = settings.issuers.join(' or ');
  return defineAdapter({
    accepts: `a token of ${issuers}`,
    headers: ['authorization'],
    securitySchemes: { bearer: jwtScheme(`A token of ${issuers}`) },
    async identify(req) {
      const token = bearerToken(req);
      if (token === null || !verifier.recognises(token)) return null;
      const claims = await verifier.verify(token);
      const user = { ...standard(claims), id: settings.idPrefix + claims.sub };
      return { user: userOf(claims, user), expiresAt: claims.exp * 1000 };
    },
  });
}
