/** `preloadQuery` for Next.js: takes the caller from the page's request, and keeps the page out of caches. */
import { headers } from 'next/headers.js';
import { connection } from 'next/server.js';
import { preloadQuery as preloadFrom } from '../client/preload-query.js';
import { callerHeaders, type Preloaded } from '../protocol/preloaded.js';
import type { AnyQueryRef, ArgsOfRef } from '../protocol/refs.js';

/** A Convoy in the process of Next.js, as `createConvoy` returns it. */
export interface PreloadingServer {
  /** Runs a query for a page. */
  preload<Ref extends AnyQueryRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    options?: { readonly headers?: HeadersInit | undefined },
  ): Promise<Preloaded<Ref>>;
}

/** Options of `preloadQuery`: where the query runs, and for whom. */
export type PreloadQueryOptions = (
  | {
      /** The Convoy in this process, or a function that opens it, which a build does not call. */
      readonly convoy: PreloadingServer | (() => PreloadingServer | Promise<PreloadingServer>);
    }
  | {
      /** The URL of another server, which `/api` is below. It receives the headers of the page's request. */
      readonly baseUrl: string;
    }
) & {
  /** Sent as the bearer token, instead of the `Authorization` of the page's request. */
  readonly token?: string | undefined;
};

/**
 * Runs the query `ref` for the caller of the page's request, for `usePreloadedQuery` in a client component. A page that
 * calls it is rendered for each request, and is never part of a static or shared cache. Rejects with a `ConvoyError`.
 */
export async function preloadQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  args: ArgsOfRef<Ref>,
  options: PreloadQueryOptions,
): Promise<Preloaded<Ref>> {
  await connection();
  const caller = callerHeaders(await headers());
  if (options.token !== undefined) caller.set('authorization', `Bearer ${options.token}`);
  if ('convoy' in options) {
    const convoy = typeof options.convoy === 'function' ? await options.convoy() : options.convoy;
    return convoy.preload(ref, args, { headers: caller });
  }
  return preloadFrom(ref, args, { baseUrl: options.baseUrl, headers: caller });
}
