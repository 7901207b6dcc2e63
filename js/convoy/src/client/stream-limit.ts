/**
 * A browser opens about six HTTP/1.1 connections to one host over all its tabs, and each stream occupies one for as long
 * as it is open. If streams had all six, every other request of every tab would wait for ever. So only a few tabs of an
 * origin have a stream at a time; the others use a WebSocket, of which a browser allows many.
 */
import type { LinkKind } from './link.js';
import { locksNeedHttps, tryLock } from './page-locks.js';

/** How many tabs have a stream to one server over HTTP/1.1; half of the connections remain for calls. */
export const MAX_STREAMS = 3;

/** The kinds of link in order of preference. Where tabs cannot be counted, a stream is not the first. */
export function linkKinds(baseUrl: string): readonly LinkKind[] {
  return isHttp1(baseUrl) && locksNeedHttps() ? ['socket', 'stream', 'polling'] : ['stream', 'socket', 'polling'];
}

/** Whether one more stream may be open, until `signal` is aborted. */
export async function mayStream(baseUrl: string, signal: AbortSignal): Promise<boolean> {
  if (!isHttp1(baseUrl)) return true;
  const { host } = serverUrl(baseUrl);
  for (let n = 0; n < MAX_STREAMS; n++) if (await tryLock(`convoy:stream:${host}:${n}`, signal)) return true;
  return false;
}

/** The page has a connection to the server over HTTP/1.1. */
function isHttp1(baseUrl: string): boolean {
  if (typeof document === 'undefined' || typeof location === 'undefined') return false;
  const { protocol, origin } = serverUrl(baseUrl);
  // Browsers use HTTP/2 and HTTP/3 only over TLS, and do not tell which of them another origin has.
  if (protocol === 'http:') return true;
  const [navigation] = globalThis.performance?.getEntriesByType?.('navigation') ?? [];
  const { nextHopProtocol = '' } = (navigation ?? {}) as Partial<PerformanceNavigationTiming>;
  return origin === location.origin && nextHopProtocol.startsWith('http/1');
}

function serverUrl(baseUrl: string): URL {
  return new URL(baseUrl || '/', location.href);
}
