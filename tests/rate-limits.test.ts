/** Rate limits, and limits of single functions, with functions on worker threads and in the calling thread. */
import { randomUUID } from 'node:crypto';
import { createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterEach, describe, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';

const program = new URL('./programs/rate-limits.mjs', import.meta.url);
const refilled = makeQueryRef<Record<string, never>, { body: string }[]>('notes.refilled');

let convoy: Convoy;
let url: string;
afterEach(() => convoy?.close());

async function serve(options: object = {}): Promise<void> {
  convoy = await createConvoy({
    program,
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    trustProxy: true,
    ...options,
  });
  const { port } = await convoy.listen({ host: '127.0.0.1', port: 0 });
  url = `http://127.0.0.1:${port}`;
}

interface From {
  readonly address?: string;
  readonly user?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

async function call(name: string, args: object, { address = '192.0.2.1', user, headers = {} }: From = {}) {
  const response = await fetch(`${url}/api/${name}`, {
    method: 'POST',
    body: JSON.stringify(args),
    headers: { 'x-forwarded-for': address, ...(user === undefined ? {} : { authorization: user }), ...headers },
  });
  const { data, error } = (await response.json()) as {
    data?: unknown;
    error?: { code: string; details?: { retryAfterMs?: number } };
  };
  return { status: response.status, data, error, retryAfter: response.headers.get('retry-after') };
}

const limited = { status: 429, error: { code: 'RATE_LIMITED' } };
const fine = { status: 200 };

describe.each([{ workers: 2 }, { workers: 0 }])('with $workers workers', (options) => {
  test('addresses, users and anonymous callers have their own buckets', async () => {
    await serve(options);
    const add = (address: string) => call('mutation/notes.addTwice', { body: 'a' }, { address });
    expect(await add('192.0.2.1')).toMatchObject(fine);
    expect(await add('6.6.6.6, 192.0.2.1')).toMatchObject(fine);
    const refused = await add('7.7.7.7, 192.0.2.1');
    expect(refused).toMatchObject(limited);
    const retryAfterMs = refused.error?.details?.retryAfterMs ?? 0;
    expect(retryAfterMs).toBeGreaterThan(80_000_000);
    expect(refused.retryAfter).toBe(String(Math.ceil(retryAfterMs / 1_000)));
    expect(await add('192.0.2.2')).toMatchObject(fine);
    for (const address of ['2001:db8::1', '2001:db8::ffff:1']) expect(await add(address)).toMatchObject(fine);
    expect(await add('2001:db8::2')).toMatchObject(limited);
    expect(await add('2001:db8:0:1::2')).toMatchObject(fine);
    expect(await call('query/notes.list', {})).toMatchObject({ data: { length: 6 } });

    const ping = (from: From) => call('action/notes.ping', {}, from);
    expect(await ping({ user: 'ada', address: '192.0.2.7' })).toMatchObject({ ...fine, data: 'ada' });
    expect(await ping({ user: 'ada', address: '192.0.2.8' })).toMatchObject(fine);
    expect(await ping({ user: 'ada', address: '192.0.2.9' })).toMatchObject(limited);
    expect(await ping({ user: 'bob', address: '192.0.2.9' })).toMatchObject({ ...fine, data: 'bob' });
    for (const expected of [fine, fine, limited]) expect(await ping({})).toMatchObject(expected);
    expect(await ping({ address: '192.0.2.2' })).toMatchObject(fine);
    // Functions and the application itself may call as often as they like.
    for (let n = 0; n < 2; n++) expect(await call('action/notes.pingAll', {})).toMatchObject({ data: 'pong' });
  });

  test('a function has its own limits', async () => {
    await serve(options);
    const timeout = { status: 504, error: { code: 'TIMEOUT' } };
    const tooLarge = { status: 413, error: { code: 'PAYLOAD_TOO_LARGE' } };
    expect(await call('query/limited.slow', {})).toMatchObject({
      ...timeout,
      error: { message: expect.stringContaining('`limited.slow` did not finish within 100 ms (its timeoutMs)') },
    });
    expect(await call('action/limited.slowAction', {})).toMatchObject(timeout);
    expect(await call('query/limited.large', { size: 100 })).toMatchObject(fine);
    expect(await call('query/limited.large', { size: 101 })).toMatchObject(tooLarge);
    expect(await call('mutation/limited.write', { count: 3 })).toMatchObject(tooLarge);
    expect(await call('query/limited.read', {})).toMatchObject({ ...fine, data: [] });
    expect(await call('mutation/limited.write', { count: 2 })).toMatchObject(fine);
    expect(await call('query/limited.read', {})).toMatchObject({ ...fine, data: { length: 2 } });
    expect(await call('mutation/limited.write', { count: 1 })).toMatchObject(fine);
    expect(await call('query/limited.read', {})).toMatchObject(tooLarge);
    expect(await call('query/notes.list', {})).toMatchObject({ ...fine, data: { length: 3 } });
  });
});

test('a live query that is refused is current again by itself, and re-runs are free', async () => {
  await serve();
  const headers = { authorization: 'ada' };
  const client = createConvoyClient({ baseUrl: url, headers });
  const other = createConvoyClient({ baseUrl: url, headers });
  const seen: [string, number][] = [];
  const until = (count: number) =>
    new Promise<void>((resolve) => {
      const stop = other.watch(refilled, {}, ({ status, data, error }) => {
        seen.push([error?.code ?? status, data?.length ?? -1]);
        if (status === 'success' && data?.length === count) {
          stop();
          resolve();
        }
      });
    });
  // Takes the token, and nine runs follow.
  await new Promise<void>((resolve) => {
    let added = 0;
    client.watch(refilled, {}, ({ status, data, error }) => {
      expect(error).toBeNull();
      if (status !== 'success' || data.length < added) return;
      if (added === 9) resolve();
      else void call('mutation/notes.add', { body: `${added++}` });
    });
  });
  await Promise.all([until(9), call('query/notes.refilled', {}, { user: 'ada' })]);
  expect(seen.at(-1)).toEqual(['success', 9]);
  client.close();
  other.close();
});

test('a stream of one query and a route are refused with their status', async () => {
  await serve();
  const from = { headers: { 'x-forwarded-for': '192.0.2.1', authorization: 'ada' } };
  const stop = new AbortController();
  for (let n = 0; n < 2; n++) {
    const open = await fetch(`${url}/api/subscribe?name=notes.watched`, { ...from, signal: stop.signal });
    expect(open.headers.get('content-type')).toContain('text/event-stream');
  }
  const refused = await fetch(`${url}/api/subscribe?name=notes.watched`, from);
  expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([429, true]);
  stop.abort();
  expect(await (await fetch(`${url}/page`, from)).text()).toBe('page');
  const page = await fetch(`${url}/page`, from);
  expect([page.status, ((await page.json()) as { error: object }).error]).toMatchObject([
    429,
    { code: 'RATE_LIMITED' },
  ]);
});

test('attempts of one call are charged once', async () => {
  await serve();
  const key = randomUUID();
  const attempt = (number: number) =>
    call(
      'mutation/notes.addTwice',
      { body: 'a' },
      {
        headers: { 'idempotency-key': key, 'convoy-attempt': String(number) },
      },
    );
  const first = await attempt(1);
  for (let n = 2; n <= 4; n++) expect(await attempt(n)).toMatchObject({ ...fine, data: first.data });
  expect(await call('mutation/notes.addTwice', { body: 'b' })).toMatchObject(fine);
  expect(await call('mutation/notes.addTwice', { body: 'c' })).toMatchObject(limited);
  expect(await call('query/notes.list', {})).toMatchObject({ data: { length: 2 } });
});

test('a limit of the server is for all functions and routes, besides those of their own', async () => {
  await serve({ rateLimit: { per: 'address', tokens: 4, refillPerSecond: 1 / 86_400 } });
  const from = { address: '192.0.2.7' };
  expect(await call('query/notes.list', {}, from)).toMatchObject(fine);
  expect(await call('mutation/notes.addTwice', { body: 'a' }, from)).toMatchObject(fine);
  const page = () => fetch(`${url}/page`, { headers: { 'x-forwarded-for': from.address } });
  expect((await page()).status).toBe(200);
  expect((await page()).status, 'by its own limit').toBe(429);
  const refused = await call('query/notes.list', {}, from);
  expect(refused).toMatchObject({
    ...limited,
    error: { message: expect.stringMatching(/^Too many calls; try again/) },
  });
  expect(refused.error?.details?.retryAfterMs).toBeGreaterThan(0);
  expect(await call('query/notes.list', {})).toMatchObject(fine);
});

test('a limit of the server that is wrong is named', async () => {
  const rateLimit = { per: 'address', tokens: 0, refillPerSecond: 1 };
  await expect(serve({ rateLimit })).rejects.toThrow(/createConvoy: `rateLimit.tokens` is a whole number/);
});

test('a program with rate limits needs to know who tells addresses', async () => {
  await expect(serve({ trustProxy: undefined })).rejects.toThrow(/`GET \/page` has a rateLimit.* trustProxy: true/);
  await expect(serve({ trustProxy: ['10.0.0.0/99'] })).rejects.toThrow(/trustProxy contains "10.0.0.0\/99"/);
  await serve({ trustProxy: ['10.0.0.0/8', '127.0.0.1'] });
  // The proxies are trusted, and what stands before them is the client's.
  for (const expected of [fine, fine, limited]) {
    const from = { address: `${Math.random()}, 192.0.2.1, 10.1.2.3, 10.3.2.1` };
    expect(await call('mutation/notes.addTwice', { body: 'a' }, from)).toMatchObject(expected);
  }
});
