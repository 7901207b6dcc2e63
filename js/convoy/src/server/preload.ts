/** Preloading in the process of the page's server: the call reaches the engine without a network. */
import type { IncomingHttpHeaders } from 'node:http';
import { nameOfRef } from '../protocol/name-of-ref.js';
import { callerHeaders, type Preloaded, preloadedOf } from '../protocol/preloaded.js';
import type { AnyQueryRef, ArgsOfRef } from '../protocol/refs.js';
import { isObject } from '../values/kind.js';
import { checkMembers } from '../values/options.js';
import { argumentsJson } from './arguments.js';
import { unwrapEnvelope } from './engine-errors.js';
import type { WebHandler } from './handlers/web-handlers.js';

/** Options of `convoy.preload`. */
export interface PreloadOptions {
  /**
   * The headers of the page's request, as a web `Request` or Node's `IncomingMessage` has them. `createContext` knows the
   * caller from them; without them it is anonymous.
   */
  readonly headers?: HeadersInit | IncomingHttpHeaders | undefined;
}

export async function preload<Ref extends AnyQueryRef>(
  handle: WebHandler,
  [ref, args, options]: [ref: Ref, args: ArgsOfRef<Ref>, options: PreloadOptions],
): Promise<Preloaded<Ref>> {
  // A request of Node has members of its own.
  if (!isObject(options) || !('headers' in options)) checkMembers('preload', options, ['headers']);
  const body = argumentsJson(args);
  const headers = callerHeaders(webHeaders(options.headers));
  headers.set('content-type', 'application/json');
  headers.set('convoy-preload', 'true');
  const url = `http://localhost/api/query/${encodeURIComponent(nameOfRef(ref))}`;
  const response = await handle(new Request(url, { method: 'POST', headers, body }));
  return preloadedOf(ref, body, { headers: response.headers, data: unwrapEnvelope(await response.text()) });
}

/** `Headers` would make the text `undefined` of a header that Node's request does not have. */
function webHeaders(headers: PreloadOptions['headers'] = {}): Headers {
  if (headers instanceof Headers || Symbol.iterator in headers) return new Headers(headers as HeadersInit);
  const given = new Headers();
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) given.set(name, String(value));
  return given;
}
