/**
 * `anonymous`: guests, users with an id of their own before they sign up.
 *
 * A caller without credentials stays signed out, with or without this adapter. A guest has a token that the application
 * has signed and the browser keeps. An id that browsers choose would let anyone act as any guest whose id becomes known.
 */

import { randomUUID } from 'node:crypto';
import type { AuthUser } from '@avvos/convoy';
import { SignJWT } from 'jose';
import type { AuthAdapter } from './adapter.js';
import { bearerToken } from './credentials.js';
import type { Claims } from './jwt/claims.js';
import { tokenAdapter } from './jwt/jwt.js';
import { boundSettings, SECRET } from './jwt/settings.js';
import { checkOptions, type OptionRules, required } from './options.js';
import { unauthorized } from './refusals.js';
import { jwtScheme } from './security-schemes.js';

/** The options of `anonymous`. */
export interface AnonymousOptions {
  /** Signs the tokens; at least 32 bytes, and the same in all processes. If it changes, all guests are forgotten. */
  readonly secret: string | Uint8Array;
  /** How long a guest is remembered, in days, at most 36,500. Default: 30. */
  readonly days?: number;
}

/** A guest. */
export interface GuestUser extends AuthUser {
  /** True, to tell guests from users who have signed up. */
  readonly isAnonymous: true;
}

/** A new guest. */
export interface GuestToken {
  /** The bearer token that the client keeps and sends. */
  readonly token: string;
  /** The guest. */
  readonly user: GuestUser;
  /** When the token expires, in milliseconds since 1970. */
  readonly expiresAt: number;
}

/** The adapter for guests, and what creates them. */
export interface AnonymousAdapter extends AuthAdapter<GuestUser> {
  /** Creates a guest: call it in a function that everyone may call, and return the token. */
  issue(): Promise<GuestToken>;
  /** The guest of a token, so that a user who signs up can take over what the guest has made. Throws `UNAUTHORIZED`. */
  verify(token: string): Promise<GuestUser>;
}

/** Distinguishes the tokens from all others that the same secret may have signed. */
const ISSUER = 'convoy:guest';
const TYPE = 'guest+jwt';

const DAY_MS = 24 * 60 * 60 * 1000;
/** A hundred years. */
const MAX_DAYS = 36_500;

const OPTIONS: OptionRules<AnonymousOptions> = {
  secret: required(SECRET),
  days: {
    must: `a positive number, at most ${MAX_DAYS}`,
    holds: (value) => typeof value === 'number' && value > 0 && value <= MAX_DAYS,
  },
};

/**
 * Accepts guests by tokens that `issue` creates. Guests count as signed in; `user.isAnonymous` tells them apart.
 *
 * @example
 * export const guests = anonymous({ secret: process.env.GUEST_SECRET ?? '' });
 * const auth = compose(clerk({ … }), guests);
 */
export function anonymous(options: AnonymousOptions): AnonymousAdapter {
  checkOptions('anonymous({ … })', options, OPTIONS);
  const { secret, days = 30 } = options;
  const settings = boundSettings({ issuer: ISSUER, audience: ISSUER, secret, types: [TYPE] });
  const key = typeof secret === 'string' ? new TextEncoder().encode(secret) : secret;
  const adapter = tokenAdapter<GuestUser, GuestUser>(settings, guestOf, undefined);
  return {
    ...adapter,
    accepts: 'the token of a guest',
    securitySchemes: { bearer: jwtScheme('The token of a guest, which the application issues') },
    async issue() {
      const user: GuestUser = { id: `guest_${randomUUID()}`, isAnonymous: true };
      const seconds = Math.floor((Date.now() + days * DAY_MS) / 1000);
      const token = await new SignJWT()
        .setProtectedHeader({ alg: 'HS256', typ: TYPE })
        .setIssuer(ISSUER)
        .setAudience(ISSUER)
        .setSubject(user.id)
        .setIssuedAt()
        .setExpirationTime(seconds)
        .sign(key);
      return { token, user, expiresAt: seconds * 1000 };
    },
    async verify(token) {
      const request = { headers: { authorization: `Bearer ${token}` } };
      const identity = bearerToken(request) === null ? null : await adapter.identify(request, undefined);
      if (identity?.user) return identity.user;
      throw unauthorized('This is not the token of a guest.');
    },
  };
}

function guestOf({ sub }: Claims): GuestUser {
  return { id: sub, isAnonymous: true };
}
