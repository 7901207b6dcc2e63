/**
 * A preloaded query: its result on the server that renders a page, as the page receives it. All members are text in which
 * `<` is escaped, so that `JSON.stringify(preloaded)` may stand in a `<script>` element.
 */
import { nameOfRef } from './name-of-ref.js';
import type { AnyQueryRef, ResultOfRef } from './refs.js';

declare const ref: unique symbol;

/** The result of a preloaded query of the type `Ref`, for `usePreloadedQuery`. Plain data, and private to its caller. */
export interface Preloaded<Ref extends AnyQueryRef = AnyQueryRef> {
  /** The name of the query: `messages.list`. */
  readonly name: string;
  /** The arguments, as JSON. */
  readonly args: string;
  /** The result, as JSON. */
  readonly data: string;
  /** The hash of the result; empty where the server has sent none. */
  readonly hash: string;
  /** The consistency token of a client that has seen the result; empty where the server has sent none. */
  readonly position: string;
  /** `false`: the page must not store the result. */
  readonly persist?: false;
  /** @internal */
  readonly [ref]?: Ref | undefined;
}

/** The data of a preloaded query, such as for a component that only a server renders. */
export function preloadedQueryResult<Ref extends AnyQueryRef>({ data }: Preloaded<Ref>): ResultOfRef<Ref> {
  return JSON.parse(data) as ResultOfRef<Ref>;
}

/** The preloaded query of a call's response with these headers. */
export function preloadedOf<Ref extends AnyQueryRef>(
  ref: Ref,
  args: string,
  { headers, data }: { readonly headers: Headers; readonly data: unknown },
): Preloaded<Ref> {
  return {
    name: nameOfRef(ref),
    args: escaped(args),
    data: escaped(JSON.stringify(data)),
    hash: headers.get('convoy-hash') ?? '',
    position: headers.get('convoy-position') ?? '',
    ...(ref.persist === false ? { persist: false } : {}),
  };
}

/**
 * The headers of a page's request by which `createContext` knows the caller: all but those that describe the request
 * itself, its body, its connection and its origin.
 */
export function callerHeaders(headers: Headers): Headers {
  const kept = new Headers(headers);
  for (const name of headers.keys()) if (OF_THE_REQUEST.test(name)) kept.delete(name);
  return kept;
}

const OF_THE_REQUEST =
  /^(accept|accept-encoding|connection|content-.*|convoy-.*|expect|host|idempotency-key|if-.*|keep-alive|origin|range|referer|sec-fetch-.*|te|trailer|transfer-encoding|upgrade|upgrade-insecure-requests)$/;

/** JSON text that contains no `<`: in JSON, one can only be part of a string. */
function escaped(json: string): string {
  return json.replaceAll('<', '\\u003c');
}
