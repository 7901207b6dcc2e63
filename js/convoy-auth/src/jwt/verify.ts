/**
 * Verifies tokens: from a text to its claims, or an `UNAUTHORIZED` that names the check that failed. jose verifies the
 * signature and the registered claims; here are the checks that it leaves to its callers.
 */

import { decodeJwt, errors, type JWTVerifyOptions, jwtVerify } from 'jose';
import { unauthorized } from '../refusals.js';
import type { Claims } from './claims.js';
import type { KeySet } from './key-set.js';
import { type JwtSettings, mediaType } from './settings.js';
import { TokenCache } from './token-cache.js';

/** Verifies the tokens of an issuer. */
export class TokenVerifier {
  readonly #settings: JwtSettings;
  readonly #options: JWTVerifyOptions;
  readonly #cache = new TokenCache();

  constructor(settings: JwtSettings) {
    this.#settings = settings;
    this.#options = {
      issuer: [...settings.issuers],
      algorithms: [...settings.algorithms],
      clockTolerance: settings.clockTolerance,
      requiredClaims: ['sub', 'exp', ...settings.requiredClaims],
      ...(settings.audience === null ? {} : { audience: [...settings.audience] }),
    };
  }

  /** Whether a token is a JWT that says to be from the issuer. Proves nothing: it only chooses the adapter. */
  recognises(token: string): boolean {
    if (token.split('.').length !== 3) return false;
    const issuer = unverifiedIssuer(token);
    return typeof issuer === 'string' && this.#settings.issuers.includes(issuer);
  }

  /** The claims of a token. Throws `UNAUTHORIZED`, or `UNAVAILABLE` if the keys cannot be fetched. */
  async verify(token: string): Promise<Claims> {
    const keys = await this.#settings.keys.current();
    const claims = this.#cache.get(token, keys) ?? (await this.#verifyNow(token, keys));
    if (!this.#isAccepted(claims)) throw unauthorized('The token is valid, but this application does not accept it.');
    return claims;
  }

  /** The check of the program, if it has one. A promise would be true, also one of false. */
  #isAccepted(claims: Claims): boolean {
    const answer: unknown = this.#settings.validate(claims);
    if (typeof answer === 'boolean') return answer;
    // The error below replaces one that the promise ends with.
    if (answer instanceof Promise) answer.catch(() => {});
    throw new TypeError(
      '`validate` must return true or false, and no promise: look up what it needs in createContext.',
    );
  }

  async #verifyNow(token: string, keys: KeySet): Promise<Claims> {
    let used = keys;
    try {
      const claims = await this.#verifyBy(token, used).catch(async (error: unknown) => {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        used = await this.#settings.keys.newerThan(keys);
        return this.#verifyBy(token, used);
      });
      this.#cache.set(token, used, claims);
      return claims;
    } catch (error) {
      throw refusalOf(error);
    }
  }

  async #verifyBy(token: string, { find }: KeySet): Promise<Claims> {
    const { payload, protectedHeader } = await jwtVerify(token, find, this.#options);
    const { typ = 'JWT', cty } = protectedHeader;
    if (!this.#settings.types.includes(mediaType(typ)))
      throw unauthorized('The token is of another type (`typ`): not one to sign in with.');
    if (cty !== undefined) throw unauthorized('The token contains another token (`cty`), which is not supported.');
    this.#checkTimes(payload);
    this.#checkParty(payload.azp);
    if (typeof payload.sub !== 'string' || payload.sub === '')
      throw unauthorized('The token names no user: `sub` is empty.');
    return deepFreeze(payload as Claims);
  }

  #checkTimes({ exp, iat }: { readonly exp?: number; readonly iat?: number }): void {
    // jose adds the tolerance here, too.
    if (exp === undefined || exp * 1000 <= Date.now()) throw expired();
    if (iat !== undefined && iat > Date.now() / 1000 + this.#settings.clockTolerance) {
      throw unauthorized(
        'The token was issued in the future (`iat`). Compare the clocks of the issuer and this server.',
      );
    }
  }

  #checkParty(azp: unknown): void {
    const parties = this.#settings.authorizedParties;
    if (parties === null || (typeof azp === 'string' && parties.includes(azp))) return;
    throw unauthorized(
      azp === undefined
        ? 'The token does not say which application it was made for: it has no `azp`.'
        : 'The token was made for another application (`azp`).',
    );
  }
}

function unverifiedIssuer(token: string): unknown {
  try {
    return decodeJwt(token).iss;
  } catch (error) {
    throw unauthorized('The token is malformed.', error);
  }
}

/** The error for a caller whose token was not verified. */
function refusalOf(error: unknown): unknown {
  if (error instanceof errors.JWTExpired) return expired();
  if (error instanceof errors.JWTClaimValidationFailed) return unauthorized(claimFault(error), error);
  if (error instanceof errors.JOSEAlgNotAllowed)
    return unauthorized('The token is signed with an algorithm that is not allowed.', error);
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return unauthorized('The signature of the token is wrong.', error);
  if (error instanceof errors.JWKSNoMatchingKey) return unauthorized('The token is signed with an unknown key.', error);
  if (error instanceof errors.JWKSMultipleMatchingKeys) {
    return unauthorized('The token does not say which of the keys of its issuer has signed it (`kid`).', error);
  }
  if (error instanceof errors.JOSENotSupported)
    return unauthorized('The token has an extension that is not supported (`crit`).', error);
  if (error instanceof errors.JOSEError) return unauthorized('The token is malformed.', error);
  // A key that Web Crypto refuses: an RSA key of fewer than 2,048 bits, or one that is malformed.
  if (error instanceof TypeError || error instanceof DOMException)
    return unauthorized('The key of the token cannot be used.', error);
  return error;
}

function claimFault({ claim, reason }: errors.JWTClaimValidationFailed): string {
  if (reason === 'missing') return `The token has no claim \`${claim}\`.`;
  if (claim === 'aud') return 'The token was made for another audience (`aud`).';
  if (claim === 'iss') return 'The token is from another issuer (`iss`).';
  if (claim === 'nbf') return 'The token is not valid yet (`nbf`).';
  return `The claim \`${claim}\` of the token is not valid.`;
}

function expired() {
  return unauthorized('The token has expired. Send a new one.');
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
