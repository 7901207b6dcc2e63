import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type Response as HostResponse, hostOf, type ScriptedRoute } from '../../testing/scripted-engine.js';
import { defineSchema } from '../schema/index.js';
import { MAX_COLLECTED_BYTES } from './route-call.js';
import { createRouteBuilders, type RouteHandler } from './routes.js';

const schema = defineSchema({});
const route = createRouteBuilders<object>();
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Given {
  readonly method?: string;
  readonly url?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: readonly string[];
}

/** Sends a request to a handler; returns the client's side and the end of the call. */
function send(
  handler: RouteHandler<object, '/x'>,
  given: Given = {},
): { client: ScriptedRoute; ended: Promise<HostResponse> } {
  const { method = 'GET', url = 'http://app.example/x', headers = {}, body = [] } = given;
  const { engine } = hostOf({ schema, functions: {}, routes: { it: route.all('/x', handler) } });
  const input = { params: {}, url, hasBody: body.length > 0 };
  const ended = engine.runRoute(0, input, { method, url: '/x', headers });
  const client = engine.routeCalls.get(1) as ScriptedRoute;
  client.body.push(...body.map((chunk) => Buffer.from(chunk)));
  return { client, ended };
}

describe('a response', () => {
  test('that is complete at once is sent as a whole', async () => {
    const { client, ended } = send(() => Response.json({ a: 1 }, { status: 201, headers: { 'x-a': 'b' } }));
    expect(await ended).toMatchObject({ ok: true, body: null });
    expect(client.head).toEqual({ status: 201, headers: expect.arrayContaining([['x-a', 'b']]) });
    expect([client.whole?.toString(), client.written]).toEqual(['{"a":1}', []]);
  });

  test('of several chunks is sent as a whole if those before the last one have no more than the limit', async () => {
    const respond = async (...sizes: number[]) => {
      const start = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
        for (const size of sizes) controller.enqueue(new Uint8Array(size));
        controller.close();
      };
      const { client, ended } = send(() => new Response(new ReadableStream({ start })));
      expect(await ended).toMatchObject({ ok: true });
      return { whole: client.whole?.length, chunks: client.written.map(({ length }) => length) };
    };
    const whole = { whole: MAX_COLLECTED_BYTES + 7, chunks: [] };
    expect(await respond(MAX_COLLECTED_BYTES - 1, 1, 7)).toEqual(whole);
    const chunks = [MAX_COLLECTED_BYTES, 1, 7];
    expect(await respond(...chunks)).toEqual({ whole: undefined, chunks });
  });

  test('that comes later is begun before its first chunk, and sent chunk by chunk', async () => {
    let push!: (text: string | null) => void;
    const start = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
      push = (text) => (text === null ? controller.close() : controller.enqueue(encode(text)));
    };
    const { client, ended } = send(() => new Response(new ReadableStream({ start })));
    await nextTurn();
    await nextTurn();
    expect([client.head?.status, client.whole, client.written]).toEqual([200, null, []]);
    for (const text of ['one', '', 'two', null]) push(text);
    expect(await ended).toMatchObject({ ok: true });
    expect(client.written).toEqual(['one', 'two']);
  });

  test('to HEAD has the length of the body, or is cancelled if that is a stream', async () => {
    const whole = send(() => new Response('four'), { method: 'HEAD' });
    await whole.ended;
    expect(whole.client.whole).toHaveLength(4);
    let reason: unknown = 'not cancelled';
    const cancel = (given: unknown): void => {
      reason = given;
    };
    const pull = async (): Promise<void> => void (await nextTurn());
    const stream = send(() => new Response(new ReadableStream({ pull, cancel })), { method: 'HEAD' });
    expect(await stream.ended).toMatchObject({ ok: true });
    expect([stream.client.written, reason]).toEqual([[], undefined]);
  });

  test.each([
    [() => undefined, 'ALL /x returned undefined; a route returns a Response.'],
    [() => ({ status: 200 }), 'ALL /x returned another object'],
    [() => Response.error(), 'ALL /x returned a Response of the status 0'],
  ])('that is none is an error with a sentence: %s', async (handler, message) => {
    const { ended } = send(handler as never);
    expect(await ended).toMatchObject({ ok: false, body: { thrown: { message: expect.stringContaining(message) } } });
  });
});

describe('a client that leaves', () => {
  test('aborts the signal, and what the handler then throws is no error', async () => {
    const { client, ended } = send(async (_ctx, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      signal.throwIfAborted();
      return new Response();
    });
    client.leave();
    expect(await ended).toMatchObject({ ok: true });
    expect(client.head).toBeNull();
  });

  test('does not hide another error of the handler', async () => {
    const { client, ended } = send(async (_ctx, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      throw new Error('unrelated');
    });
    client.leave();
    expect(await ended).toMatchObject({ ok: false, body: { thrown: { message: 'unrelated' } } });
  });

  test('cancels the stream, also while that waits for nothing', async () => {
    let cancelled: unknown;
    const cancel = (reason: unknown): void => {
      cancelled = reason;
    };
    const { client, ended } = send(() => new Response(new ReadableStream({ cancel })));
    await nextTurn();
    client.leave();
    expect(await ended).toMatchObject({ ok: true });
    expect(cancelled).toMatchObject({ name: 'AbortError' });
  });

  test('with the whole response does not abort the signal', async () => {
    let isAborted = false;
    const { client, ended } = send((_ctx, { signal }) => {
      signal.addEventListener('abort', () => {
        isAborted = true;
      });
      return new Response('x');
    });
    await ended;
    client.leave();
    await nextTurn();
    expect([client.whole?.toString(), isAborted]).toEqual(['x', false]);
  });
});

describe('a request', () => {
  test('has the method, the headers and the body of the client', async () => {
    const given = { method: 'POST', headers: { cookie: 'a=1; b=2', 'x-name': 'm\u00fcller' }, body: ['ab', 'cd'] };
    const { client, ended } = send(async (_ctx, request) => {
      const { method, url, headers } = request;
      return Response.json([method, url, headers.get('cookie'), headers.get('x-name'), await request.text()]);
    }, given);
    await ended;
    expect(JSON.parse(client.whole?.toString() ?? '')).toEqual([
      'POST',
      'http://app.example/x',
      'a=1; b=2',
      'm\u00fcller',
      'abcd',
    ]);
  });

  test('of an invalid host is refused', async () => {
    const { ended } = send(() => new Response(), { url: 'http://a b/x' });
    expect(await ended).toMatchObject({ ok: false, body: { code: 'INVALID_ARGS' } });
  });

  test('pulls only what the handler reads', async () => {
    const { client, ended } = send(
      async (_ctx, request) => {
        await request.body?.getReader().read();
        return new Response();
      },
      { method: 'PUT', body: ['a', 'b', 'c'] },
    );
    await ended;
    expect(client.body).toHaveLength(2);
  });
});
