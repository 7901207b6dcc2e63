/** What this package uses of Next.js, so that it can be compiled without it. */
declare module 'next/headers.js' {
  /** The headers of the page's request. */
  export function headers(): Promise<Headers>;
}

declare module 'next/server.js' {
  /** Waits for a request: what comes after is never part of a page made at build time. */
  export function connection(): Promise<void>;
}
