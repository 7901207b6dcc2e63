/** Preloading over HTTP: the call of a query by the server that renders a page, for the page to go on from. */

import { nameOfRef } from '../protocol/name-of-ref.js';
import { type Preloaded, preloadedOf } from '../protocol/preloaded.js';
import type { AnyQueryRef, ArgsOfRef } from '../protocol/refs.js';
import { canonicalArgs } from './canonical.js';
import { type AuthSource, Endpoint, type HeadersSource, readAnswer } from './endpoint.js';

/** Options of `preloadQuery`. */
export interface PreloadQueryOptions {
  /** The URL that `/api` is below, such as `https://example.org`. */
  readonly baseUrl: string;
  /** Headers by which the server knows the caller: those of the page's request, such as its cookie. */
  readonly headers?: HeadersSource;
  /** The bearer token, or a function that returns it. */
  readonly auth?: AuthSource;
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** Ends the request. */
  readonly signal?: AbortSignal;
}

/**
 * Calls the query `ref` on a Convoy server, for a page that is being rendered. The result is kept current on the server
 * for 10 seconds, so that the page that goes on from it takes no second run. Rejects with a `ConvoyError`.
 */
export async function preloadQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  args: ArgsOfRef<Ref>,
  { baseUrl, signal = new AbortController().signal, ...options }: PreloadQueryOptions,
): Promise<Preloaded<Ref>> {
  const endpoint = new Endpoint({ baseUrl: baseUrl.replace(/\/+$/, ''), ...options });
  const body = canonicalArgs(args);
  const path = `/query/${encodeURIComponent(nameOfRef(ref))}`;
  const response = await endpoint.post({ path, body, headers: { 'convoy-preload': 'true' }, signal });
  return preloadedOf(ref, body, { headers: response.headers, data: await readAnswer(response) });
}
