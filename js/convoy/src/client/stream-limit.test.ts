import { afterEach, expect, test, vi } from 'vitest';
import { WebLocks } from '../../testing/web-locks.js';
import { linkKinds, MAX_STREAMS, mayStream } from './stream-limit.js';

afterEach(() => {
  vi.unstubAllGlobals();
});

/** A page at `href` that was loaded over `protocol`. */
function page(href: string, protocol: string, { locks, isSecureContext = true }: PageOptions = {}): void {
  vi.stubGlobal('document', {});
  vi.stubGlobal('location', new URL(href));
  vi.stubGlobal('isSecureContext', isSecureContext);
  vi.stubGlobal('navigator', { locks });
  vi.stubGlobal('performance', { getEntriesByType: () => [{ nextHopProtocol: protocol }] });
}

interface PageOptions {
  readonly locks?: unknown;
  readonly isSecureContext?: boolean;
}

/** Tries to open `count` streams; returns how many may be open. */
async function streams(baseUrl: string, count: number, signal = new AbortController().signal): Promise<number> {
  let allowed = 0;
  for (let n = 0; n < count; n++) if (await mayStream(baseUrl, signal)) allowed += 1;
  return allowed;
}

test.each([
  ['https://a.test/', 'http/1.1', ''],
  ['https://a.test/', 'http/1.1', 'https://a.test'],
  ['http://a.test/', '', 'http://b.test:3000'],
])('pages at %s over %j have a limit of streams to %j', async (href, protocol, baseUrl) => {
  page(href, protocol, { locks: new WebLocks() });
  expect(await streams(baseUrl, 10)).toBe(MAX_STREAMS);
});

test.each([
  ['https://a.test/', 'h2', ''],
  ['https://a.test/', 'h3', 'https://a.test'],
  ['https://a.test/', 'http/1.1', 'https://b.test'],
])('pages at %s over %j have no limit of streams to %j', async (href, protocol, baseUrl) => {
  page(href, protocol, { locks: new WebLocks() });
  expect(await streams(baseUrl, 10)).toBe(10);
});

test('each server has its own limit, and a stream that has ended makes room for another', async () => {
  const locks = new WebLocks();
  page('http://a.test/', 'http/1.1', { locks });
  const ended = new AbortController();
  expect(await streams('', MAX_STREAMS, ended.signal)).toBe(MAX_STREAMS);
  expect(await streams('http://b.test', 10)).toBe(MAX_STREAMS);
  expect(await streams('', 1)).toBe(0);
  ended.abort();
  await vi.waitFor(() => expect(locks.held.size).toBe(MAX_STREAMS));
  expect(await streams('', 10)).toBe(MAX_STREAMS);
});

test('a page that may not use locks streams', async () => {
  page('http://a.test/', 'http/1.1', { locks: { request: async () => Promise.reject(new Error('SecurityError')) } });
  expect(await streams('', 10)).toBe(10);
});

test('where there is no page, there is no limit', async () => {
  expect(await streams('http://a.test', 10)).toBe(10);
  expect(linkKinds('http://a.test')[0]).toBe('stream');
});

test('a WebSocket is preferred only where tabs cannot be counted', () => {
  page('http://a.test/', 'http/1.1', { isSecureContext: false });
  expect(linkKinds('')).toEqual(['socket', 'stream', 'polling']);
  page('http://localhost/', 'http/1.1', { locks: new WebLocks() });
  expect(linkKinds('')).toEqual(['stream', 'socket', 'polling']);
  page('https://a.test/', 'h2', { locks: new WebLocks() });
  expect(linkKinds('')).toEqual(['stream', 'socket', 'polling']);
});
