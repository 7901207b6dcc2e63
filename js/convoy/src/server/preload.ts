/** Preloading in the process of the page's server: the call reaches the engine without a network. */
import { nameOfRef } from '../protocol/name-of-ref.js';
import { callerHeaders, type Preloaded, preloadedOf } from '../protocol/preloaded.js';
import type { AnyQueryRef, ArgsOfRef } from '../protocol/refs.js';
import { argumentsJson } from './arguments.js';
import { unwrapEnvelope } from './engine-errors.js';
import type { WebHandler } from './handlers/web-handlers.js';

/** Options of `convoy.preload`. */
export interface PreloadOptions {
  /** The headers of the page's request, from which `createContext` knows the caller; without them it is anonymous. */
  readonly headers?: HeadersInit | undefined;
}

export async function preload<Ref extends AnyQueryRef>(
  handle: WebHandler,
  [ref, args, options]: [ref: Ref, args: ArgsOfRef<Ref>, options: PreloadOptions],
): Promise<Preloaded<Ref>> {
  const body = argumentsJson(args);
  const headers = callerHeaders(new Headers(options.headers));
  headers.set('content-type', 'application/json');
  headers.set('convoy-preload', 'true');
  const url = `http://localhost/api/query/${encodeURIComponent(nameOfRef(ref))}`;
  const response = await handle(new Request(url, { method: 'POST', headers, body }));
  return preloadedOf(ref, body, { headers: response.headers, data: unwrapEnvelope(await response.text()) });
}
