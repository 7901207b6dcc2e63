/** The public keys of an issuer, in the form in which it publishes them. */

import { createLocalJWKSet, type JSONWebKeySet, type JWK, type JWTVerifyGetKey } from 'jose';

/** An issuer has a few: the current ones, and those that tokens were signed with lately. */
export const MAX_KEYS = 100;

/** A set of keys. Equal sets are the same object, so that its identity tells whether the keys have changed. */
export interface KeySet {
  /** Finds the key of a token. */
  readonly find: JWTVerifyGetKey;
}

/** Where the keys of an issuer are from. */
export interface KeySource {
  /** The keys to use now; throws `UNAVAILABLE` if there are none. */
  current(): Promise<KeySet>;
  /** Newer keys than `known`, which has no key for a token; throws if there are none. */
  newerThan(known: KeySet): Promise<KeySet>;
}

/**
 * The keys that verify signatures. Symmetric and private keys are left out: a published secret proves nothing. Throws an
 * `Error` if no key is left.
 */
export function signingKeys(set: unknown): KeySet {
  const { keys } = (typeof set === 'object' && set !== null ? set : {}) as Partial<JSONWebKeySet>;
  if (!Array.isArray(keys)) throw new Error('the key set has no list `keys`');
  if (keys.length > MAX_KEYS) throw new Error(`the key set has more than ${MAX_KEYS} keys`);
  const usable = keys.filter(isPublicSigningKey);
  if (usable.length === 0) throw new Error('the key set has no public key for signatures');
  return { find: createLocalJWKSet({ keys: usable }) };
}

function isPublicSigningKey(key: unknown): key is JWK {
  if (typeof key !== 'object' || key === null) return false;
  const { kty, use, d, k } = key as Record<string, unknown>;
  const isAsymmetric = kty === 'RSA' || kty === 'EC' || kty === 'OKP';
  return isAsymmetric && d === undefined && k === undefined && (use === undefined || use === 'sig');
}
