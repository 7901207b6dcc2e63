/** HTTP routes, for tests that run them on workers and on the calling thread. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { ConvoyError, defineSchema, defineTable, internalAction, internalMutation, query, route } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({ events: defineTable({ kind: z.string() }) });

const record = internalMutation({
  input: { kind: z.string() },
  handler: (ctx, event) => ctx.db.insert('events', event),
});
const kinds = query({ handler: async (ctx) => (await ctx.db.query('events').collect()).map(({ kind }) => kind) });
const whoAmI = internalAction({ handler: (ctx) => ctx.user });
export const functions = { events: { record, kinds, whoAmI } };

export const createContext = (request, base) => {
  if (request.headers['x-user'] === 'banned') throw new ConvoyError('FORBIDDEN', 'You are banned.');
  const asked = [request.method, request.url, request.ip, request.headers['x-forwarded-for']];
  return { ...base, user: request.headers['x-user'] ?? null, asked };
};

/** What has happened to streams and signals in this thread. */
const seen = [];
const note = (what) => seen.push(what);

/** The chunks of the latest large response so far. */
let produced = 0;

/** Events that wait for `POST /events/next`. */
const turns = [];
const nextTurn = () => new Promise((resolve) => turns.push(resolve));

const encoder = new TextEncoder();
const SECRET = 'whsec_test';

export const routes = {
  hello: route.get('/hello/:name', async (ctx, request, params) =>
    Response.json({
      params,
      url: request.url,
      method: request.method,
      header: request.headers.get('x-name'),
      address: request.headers.get('x-forwarded-for'),
      asked: ctx.asked,
      user: await ctx.runAction(whoAmI),
      isRequest: request instanceof Request,
    }),
  ),

  webhook: route.post('/webhooks/:provider', async (ctx, request, { provider }) => {
    const raw = Buffer.from(await request.arrayBuffer());
    const [, at, given] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(request.headers.get('x-signature') ?? '') ?? [];
    const expected = createHmac('sha256', SECRET).update(`${at}.`).update(raw).digest();
    if (given === undefined || !timingSafeEqual(Buffer.from(given, 'hex'), expected)) {
      throw new ConvoyError('UNAUTHORIZED', 'The signature does not fit.');
    }
    await ctx.runMutation(record, { kind: `${provider} ${raw.length}` });
    return Response.json(await ctx.runQuery(kinds));
  }),

  upload: route.post('/upload', { bodyBytes: 1 << 30 }, async (_ctx, request) => {
    const hash = createHash('sha256');
    let [bytes, chunks, most] = [0, 0, 0];
    for await (const chunk of request.body) {
      hash.update(chunk);
      bytes += chunk.byteLength;
      chunks += 1;
      most = Math.max(most, process.memoryUsage().arrayBuffers);
    }
    return Response.json({ bytes, chunks, most, hash: hash.digest('hex') });
  }),

  text: route.post('/text', async (_ctx, request) => {
    try {
      return new Response(await request.text());
    } catch (error) {
      note(`text: ${error.code}`);
      throw error;
    }
  }),
  echo: route.all('/echo/*rest', (_ctx, request, { rest }) => new Response(request.body, { headers: { rest } })),
  small: route.put('/small', { bodyBytes: 3 }, async (_ctx, request) => new Response(await request.text())),
  form: route.post('/form', { crossSite: true }, async (_ctx, request) => {
    const form = await request.formData();
    return Response.json([...form.keys()]);
  }),

  events: route.get('/events', (ctx, request) => {
    request.signal.addEventListener('abort', () => note(`events: ${request.signal.reason.name}`));
    let count = 0;
    const body = new ReadableStream({
      async pull(controller) {
        await nextTurn();
        count += 1;
        if (count > 3) {
          await ctx.runMutation(record, { kind: 'streamed' });
          controller.close();
        } else controller.enqueue(encoder.encode(`data: ${count}\n\n`));
      },
      cancel: (reason) => note(`cancelled: ${reason.name}`),
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  }),
  next: route.post('/events/next', () => {
    turns.shift()?.();
    return new Response(null, { status: 204 });
  }),
  wait: route.get('/wait', async (_ctx, request) => {
    note('wait: began');
    await new Promise((resolve) => request.signal.addEventListener('abort', resolve));
    request.signal.throwIfAborted();
  }),
  seen: route.get('/seen', () => Response.json(seen)),
  large: route.get('/large/:chunks', (_ctx, _request, { chunks }) => {
    produced = 0;
    const pull = (controller) => {
      if (produced === Number(chunks)) return controller.close();
      produced += 1;
      controller.enqueue(new Uint8Array(65_536));
    };
    return new Response(new ReadableStream({ pull }));
  }),
  produced: route.get('/produced', () => new Response(String(produced))),

  redirect: route.get('/redirect', () => Response.redirect('https://example.com/there', 303)),
  cookies: route.get('/cookies', (_ctx, request) => {
    const response = new Response(request.headers.get('cookie'));
    response.headers.append('set-cookie', 'a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT');
    response.headers.append('set-cookie', 'b=2');
    return response;
  }),
  status: route.get('/status/:status', (_ctx, _request, { status }) => new Response(null, { status: Number(status) })),
  headers: route.get('/headers', () => {
    const headers = {
      connection: 'upgrade',
      'transfer-encoding': 'gzip',
      'content-length': '1',
      'x-name': 'm\u00fcller',
    };
    return new Response('four', { headers });
  }),

  refused: route.get('/refused', () => {
    throw new ConvoyError('CONFLICT', 'Not now.', { details: { again: 'later' }, status: 418 });
  }),
  broken: route.get('/broken', () => {
    throw new Error('postgres://root:hunter2@db/secret');
  }),
  nothing: route.get('/nothing', () => {}),
  used: route.get('/used', async () => {
    const response = new Response('once');
    await response.text();
    return response;
  }),
  late: route.post('/late', { timeoutMs: 200 }, async (_ctx, request) => {
    const text = await request.text().catch((error) => note(`late: ${error.code}`));
    return new Response(text);
  }),
  endless: route.get('/endless', { timeoutMs: 200 }, () => new Promise(() => {})),
  failing: route.get('/failing', () => {
    let count = 0;
    const pull = async (controller) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (count++ === 0) controller.enqueue(encoder.encode('half'));
      else controller.error(new Error('the rest is missing'));
    };
    return new Response(new ReadableStream({ pull }));
  }),
  strings: route.get('/strings', () => {
    const pull = async (controller) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      controller.enqueue('text');
    };
    return new Response(new ReadableStream({ pull }));
  }),
  unawaited: route.get('/unawaited', (ctx) => {
    void ctx.runMutation(record, { kind: 5 });
    return new Response('fine');
  }),
  exit: route.get('/exit', () => process.exit(7)),
  exitLater: route.get('/exit-later', () => {
    let count = 0;
    const pull = async (controller) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (count++ > 0) process.exit(7);
      controller.enqueue(encoder.encode('half'));
    };
    return new Response(new ReadableStream({ pull }));
  }),
};
