/** Queries by GET, with functions on worker threads: what caches may keep, and the log of development. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine, notes } from './command-line.js';

const SERVER = `import { ConvoyError } from '@avvos/convoy';

export function createContext(req, base) {
  const user = req.headers.authorization ?? null;
  if (user === 'bad') throw new ConvoyError('UNAUTHORIZED', 'Sign in again.');
  if (process.env.PRIVATE === '1' && user === null) throw new ConvoyError('UNAUTHORIZED', 'Sign in first.');
  return { ...base, user, roles: ['reader'] };
}
`;
const FUNCTIONS = `import { z } from 'zod';
import { internalQuery, mutation, query } from '../_generated/server';

const cache = { public: true, maxAge: 60 } as const;
const bodies = async (ctx) => (await ctx.db.query('notes').collect()).map(({ body }) => body);
export const add = mutation({ input: { body: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) });
export const own = query({
  input: { n: z.number().default(1) },
  http: 'GET',
  handler: (ctx, { n }) => ({ n, user: (ctx as never as { user: string }).user }),
});
export const all = query({ http: 'GET', cache, handler: bodies });
export const mine = query({ http: 'GET', cache, handler: (ctx) => ((ctx as never as { user: string }).user ?? 'nobody') });
export const keys = query({ http: 'GET', cache, handler: (ctx) => Object.keys(ctx).length });
export const secret = internalQuery({ share: false, handler: () => 1 });
export const joined = query({ http: 'GET', cache, handler: (ctx) => ctx.runQuery(secret, {}) });
export const nested = query({ http: 'GET', cache, handler: (ctx) => ctx.runQuery(mine, {}) });
`;

let app: CommandLine;
beforeAll(async () => {
  app = await CommandLine.create({
    'convoy/schema.ts': notes,
    'convoy/server.ts': SERVER,
    'convoy/functions/notes.ts': FUNCTIONS,
  });
  expect((await app.run(['migrate'])).code).toBe(0);
  expect((await app.run(['build'])).code).toBe(0);
});
afterAll(() => app.remove());

const get = (url: string, path: string, headers: Record<string, string> = {}) =>
  fetch(`${url}/query/notes.${path}`, { headers });
const caching = (response: Response) => [response.status, response.headers.get('cache-control')];

test('only an answer that is the same for everyone is public', async () => {
  const { url } = await app.serve();
  for (const headers of [{}, { authorization: 'ada', cookie: 'a=b' }] as const) {
    expect(caching(await get(url, 'all', headers))).toEqual([200, 'public, max-age=60']);
    for (const path of ['mine', 'keys', 'joined', 'nested']) {
      expect(caching(await get(url, path, headers)), path).toEqual([200, 'private, no-store']);
    }
    const own = await get(url, 'own?args=%7B%22n%22%3A2%7D', headers);
    expect(caching(own)).toEqual([200, 'private, no-cache']);
    expect(own.headers.get('vary')).toBe('Authorization, Cookie, Origin');
    expect(await own.json()).toEqual({ ok: true, data: { n: 2, user: 'authorization' in headers ? 'ada' : null } });
  }
  expect(caching(await get(url, 'all', { authorization: 'bad' }))).toEqual([401, 'no-store']);
  expect(caching(await get(url, 'own?args=%7B%22n%22%3A%22x%22%7D'))).toEqual([400, 'no-store']);
  expect(caching(await get(url, 'secret'))).toEqual([405, 'no-store']);
});

test('a cached answer is confirmed until the data change, and only to those whom the context lets pass', async () => {
  const { url } = await app.serve();
  const tag = (await get(url, 'all')).headers.get('etag') ?? '';
  const known = { 'if-none-match': tag };
  expect(caching(await get(url, 'all', known))).toEqual([304, 'public, max-age=60']);
  expect(caching(await get(url, 'all', { ...known, authorization: 'bad' }))).toEqual([401, 'no-store']);
  const body = JSON.stringify({ body: 'new' });
  const written = await fetch(`${url}/mutation/notes.add`, { method: 'POST', body });
  const position = written.headers.get('convoy-position') ?? '';
  const changed = await get(url, 'all', { ...known, 'convoy-position': position });
  expect([changed.status, await changed.json()]).toEqual([200, { ok: true, data: ['new'] }]);
});

test('nothing is public where the context refuses callers without credentials', async () => {
  const { url } = await app.serve({ env: { PRIVATE: '1' } });
  expect(caching(await get(url, 'all', { authorization: 'ada' }))).toEqual([200, 'private, no-store']);
  expect(caching(await get(url, 'all'))).toEqual([401, 'no-store']);
});

test('in development the log says what a query has read, once', async () => {
  const dev = app.start(['dev', '--no-types', '--port', '0']);
  const [address] = await dev.prints(/http:\/\/[^\s/]+/);
  for (const path of ['mine', 'mine', 'keys', 'joined', 'nested', 'all']) await get(`${address}/api`, path);
  await dev.logs(/`notes\.nested` has `cache/);
  const logged = dev.stderr.split('\n').filter((line) => line.includes('no cache may keep its answer'));
  expect(logged.map((line) => /`notes\.\w+`|it has read [^;]*|its context has [^;]*/g.exec(line)?.[0])).toHaveLength(4);
  expect(logged[0]).toContain(
    '`notes.mine` has `cache: { public: true }`, but no cache may keep its answer: it has read `ctx.user`',
  );
  expect(logged[1]).toContain('it has read the keys of `ctx`');
  expect(logged[2]).toContain('it calls a query with `share: false`');
  expect(logged[3]).toContain(
    '`notes.nested` has `cache: { public: true }`, but no cache may keep its answer: it has read `ctx.user`',
  );
});
