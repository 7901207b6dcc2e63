/**
 * Keeps the keys that an issuer publishes.
 *
 * jose's `createRemoteJWKSet` has no grace for an issuer that is away, and no limit of size; selecting the key is jose's
 * part here, too.
 *
 * ```text
 * age of the keys   0 ──────── 10 min ──────────────────── 60 min ──────
 *                   used       fetched before they are     not used:
 *                              used; if that fails, used   UNAVAILABLE
 * ```
 *
 * At most one request is under way. After a failure, and for unknown keys after any fetch, there is none until a pause is
 * over: tokens with invented key ids cause no more than two fetches a minute.
 */

import { unauthorized, unavailable } from '../refusals.js';
import { fetchableUrl, fetchJson } from './fetch-json.js';
import { type KeySet, type KeySource, signingKeys } from './key-set.js';

const MINUTE_MS = 60_000;
const FRESH_MS = 10 * MINUTE_MS;
export const MAX_AGE_MS = 60 * MINUTE_MS;
/** Between fetches for unknown keys. */
export const UNKNOWN_KEY_PAUSE_MS = 30_000;
/** After a failed fetch. */
export const FAILURE_PAUSE_MS = 5_000;

interface Fetched {
  readonly keys: KeySet;
  readonly text: string;
  readonly at: number;
}

/** The keys at a URL, or at the one that the issuer's discovery document names. */
export class RemoteKeys implements KeySource {
  readonly #issuer: string;
  readonly #locate: () => Promise<URL>;
  #fetched: Fetched | null = null;
  #failure: { readonly at: number; readonly error: unknown } | null = null;
  #fetching: Promise<Fetched> | null = null;

  constructor(issuer: string, locate: () => Promise<URL>) {
    this.#issuer = issuer;
    this.#locate = locate;
  }

  async current(): Promise<KeySet> {
    const fetched = this.#fetched;
    const age = fetched === null ? Number.POSITIVE_INFINITY : Date.now() - fetched.at;
    if (fetched !== null && age < FRESH_MS) return fetched.keys;
    const isUsable = fetched !== null && age < MAX_AGE_MS;
    if (isUsable && this.#failedWithin(FAILURE_PAUSE_MS)) return fetched.keys;
    try {
      return (await this.#fetch()).keys;
    } catch (error) {
      if (isUsable) return fetched.keys;
      throw error;
    }
  }

  async newerThan(known: KeySet): Promise<KeySet> {
    const fetched = this.#fetched;
    if (fetched !== null && fetched.keys !== known) return fetched.keys;
    if (fetched !== null && Date.now() - fetched.at < UNKNOWN_KEY_PAUSE_MS) throw unknownKey(this.#issuer);
    const newer = await this.#fetch();
    if (newer.keys === known) throw unknownKey(this.#issuer);
    return newer.keys;
  }

  #failedWithin(ms: number): boolean {
    return this.#failure !== null && Date.now() - this.#failure.at < ms;
  }

  /** Fetches the keys, or joins the fetch that is under way. Throws `UNAVAILABLE`. */
  async #fetch(): Promise<Fetched> {
    if (this.#failedWithin(FAILURE_PAUSE_MS)) throw this.#unavailable(this.#failure?.error);
    this.#fetching ??= this.#fetchOnce().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }

  async #fetchOnce(): Promise<Fetched> {
    try {
      const { text, json } = await fetchJson(await this.#locate());
      const keys = text === this.#fetched?.text ? this.#fetched.keys : signingKeys(json);
      this.#failure = null;
      this.#fetched = { keys, text, at: Date.now() };
      return this.#fetched;
    } catch (error) {
      this.#failure = { at: Date.now(), error };
      console.warn(`Could not fetch the keys of ${this.#issuer}: ${reasonOf(error)}`);
      throw this.#unavailable(error);
    }
  }

  #unavailable(error: unknown) {
    return unavailable(`The keys of ${this.#issuer} could not be fetched, so its tokens cannot be checked now.`, error);
  }
}

/** The address of the keys, from the issuer's `/.well-known/openid-configuration`. Kept for as long as it works. */
export function discoveredKeys(issuer: string, allowHttp: boolean): RemoteKeys {
  const document = fetchableUrl(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, '`issuer`', allowHttp);
  return new RemoteKeys(issuer, async () => {
    const { json } = await fetchJson(document);
    const { issuer: named, jwks_uri: keys } = (json ?? {}) as {
      readonly issuer?: unknown;
      readonly jwks_uri?: unknown;
    };
    if (named !== issuer) {
      throw new Error(`${document} is the document of ${JSON.stringify(named)}; \`issuer\` must be exactly that text`);
    }
    if (typeof keys !== 'string') throw new Error(`${document} names no \`jwks_uri\``);
    return fetchableUrl(keys, '`jwks_uri`', allowHttp);
  });
}

/** A token whose key id none of the issuer's keys has. */
function unknownKey(issuer: string) {
  return unauthorized(`The token is signed with a key that ${issuer} does not publish.`);
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // `fetch` says only that it failed; its cause says why.
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}
