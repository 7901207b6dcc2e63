/** A frame of a stream that is too large. */
import { expect, test, vi } from 'vitest';
import { until } from '../../testing/until.js';
import { watching } from '../../testing/watching.js';
import { makeQueryRef } from '../protocol/refs.js';
import { query } from '../server/functions.js';
import { createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import type { LinkEnd } from './link.js';
import { LiveTransport } from './live-transport.js';
import { MAX_FRAME_CHARS, openStream } from './stream-link.js';

/** The limit in these tests. */
const CHARS = 1_000;

vi.mock('./event-stream.js', async (importOriginal) => {
  const original = await importOriginal<typeof import('./event-stream.js')>();
  class SmallParser extends original.EventStreamParser {
    constructor(maxChars: number, onEvent: (data: string) => void) {
      super(maxChars - MAX_FRAME_CHARS + CHARS, onEvent);
    }
  }
  return { EventStreamParser: SmallParser };
});

/** A client's `fetch`, whose streams carry `parts` and do not end. */
function streaming(...parts: string[]) {
  return vi.fn(async () => {
    const start = (controller: ReadableStreamDefaultController<Uint8Array>) => {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
    };
    return new Response(new ReadableStream({ start }), { headers: { 'content-type': 'text/event-stream' } });
  });
}

test('a frame of the limit is read, and one of a character more is PAYLOAD_TOO_LARGE', async () => {
  const sent = async (chars: number) => {
    const start = 'data: {"type":"result","seq":0,"id":1,"hash":"h","data":"';
    const line = `${start.padEnd(chars - 2, 'x')}"}`;
    const endpoint = new Endpoint({ baseUrl: 'https://a.test', fetch: streaming(line, '\n\n') });
    const [frame, ended] = [vi.fn(), vi.fn<(end: LinkEnd) => void>()];
    const ignored = () => {};
    const listener = { sent: ignored, accepted: ignored, active: ignored, frame, ended };
    const attempt = new AbortController();
    openStream(endpoint, { queries: [], signal: attempt.signal }, listener);
    await until(() => expect(frame.mock.calls.length + ended.mock.calls.length).toBe(1));
    attempt.abort();
    return ended.mock.calls[0]?.[0] ?? frame.mock.calls[0]?.[0];
  };
  expect(await sent(CHARS)).toMatchObject([{ type: 'result', id: 1 }]);
  expect(await sent(CHARS + 1)).toMatchObject({
    kind: 'refused',
    error: { code: 'PAYLOAD_TOO_LARGE', message: expect.stringContaining(`more than ${MAX_FRAME_CHARS} characters`) },
  });
});

test('no result of a function is larger', () => {
  const room = 1_000;
  const define = () => query({ resultBytes: MAX_FRAME_CHARS - room, handler: () => null });
  expect(define).toThrow('`resultBytes` is a whole number from 1 to');
});

test('the queries of a stream with such a frame fail, and it is opened again without one that was removed', async () => {
  const fetch = streaming('data: '.padEnd(CHARS + 1));
  const endpoint = new Endpoint({ baseUrl: 'https://a.test', fetch });
  const client = createConvoyClient({ transport: new LiveTransport({ endpoint, random: () => 0 }) });
  const list = makeQueryRef<{ of: string }, string>('rows.list');
  const [small, large] = [watching(client, list, { of: 'a' }), watching(client, list, { of: 'b' })];
  for (const watch of [small, large]) {
    const failed = await watch.until(({ status }) => status === 'error');
    expect(failed).toMatchObject({ error: { code: 'PAYLOAD_TOO_LARGE' }, connectionState: 'closed' });
  }
  expect(fetch).toHaveBeenCalledOnce();
  large.stop();
  await until(() => expect(fetch).toHaveBeenCalledTimes(2));
  const [, init] = fetch.mock.calls[1] as unknown as [string, { body: string }];
  expect(JSON.parse(init.body).queries).toMatchObject([{ name: 'rows.list', args: { of: 'a' } }]);
  client.close();
});

test('a stream that was refused for another reason is not opened again when a query is removed', async () => {
  const error = { ok: false, error: { code: 'FORBIDDEN', message: 'No.' } };
  const fetch = vi.fn(async () => Response.json(error, { status: 403 }));
  const endpoint = new Endpoint({ baseUrl: 'https://a.test', fetch });
  const client = createConvoyClient({ transport: new LiveTransport({ endpoint, random: () => 0 }) });
  const list = makeQueryRef<{ of: string }, string>('rows.list');
  const [kept, removed] = [watching(client, list, { of: 'a' }), watching(client, list, { of: 'b' })];
  await kept.until(({ status }) => status === 'error');
  expect(fetch).toHaveBeenCalledOnce();
  vi.useFakeTimers();
  removed.stop();
  await vi.advanceTimersByTimeAsync(10_000);
  vi.useRealTimers();
  expect(fetch).toHaveBeenCalledOnce();
  client.close();
});
