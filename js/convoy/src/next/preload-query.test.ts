/** `preloadQuery` for Next.js, with stand-ins for the two functions of Next.js; tests/frameworks.test.mjs has the real ones. */
import { beforeEach, expect, test, vi } from 'vitest';
import { preloadedOf } from '../protocol/preloaded.js';
import { makeQueryRef } from '../protocol/refs.js';
import { preloadQuery } from './preload-query.js';

const steps: string[] = [];
vi.mock('next/headers.js', () => ({
  headers: async () => {
    steps.push('headers');
    return new Headers({
      cookie: 'session=1',
      authorization: 'Bearer page',
      host: 'shop.example',
      accept: 'text/html',
    });
  },
}));
vi.mock('next/server.js', () => ({ connection: async () => void steps.push('connection') }));

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
const answer = preloadedOf(list, '{"room":"a"}', { headers: new Headers({ 'convoy-hash': 'h1' }), data: ['one'] });

beforeEach(() => steps.splice(0));

test('the Convoy of this process gets the headers of the request, once there is one', async () => {
  const asked: unknown[] = [];
  const convoy = {
    preload: async (ref: unknown, args: unknown, options?: { headers?: HeadersInit | undefined }) => {
      steps.push('preload');
      asked.push(ref, args, Object.fromEntries(new Headers(options?.headers)));
      return answer as never;
    },
  };
  expect(await preloadQuery(list, { room: 'a' }, { convoy })).toBe(answer);
  // Without `connection`, Next.js would run it for a page that it makes at build time.
  expect(steps).toEqual(['connection', 'headers', 'preload']);
  expect(asked).toEqual([list, { room: 'a' }, { authorization: 'Bearer page', cookie: 'session=1' }]);
});

test('Convoy is opened once there is a request, and not by a build', async () => {
  const open = async () => {
    steps.push('open');
    return { preload: async () => answer as never };
  };
  expect(await preloadQuery(list, { room: 'a' }, { convoy: open })).toBe(answer);
  expect(steps).toEqual(['connection', 'headers', 'open']);
});

test('another server gets them with the request, and a token replaces the one of the page', async () => {
  const fetched = vi.spyOn(globalThis, 'fetch').mockImplementation(async () => {
    return new Response('{"ok":true,"data":["one"]}', { headers: { 'convoy-hash': 'h1' } });
  });
  expect(await preloadQuery(list, { room: 'a' }, { baseUrl: 'https://api.example', token: 'mine' })).toEqual(answer);
  const [url, request] = fetched.mock.calls[0] ?? [];
  expect(url).toBe('https://api.example/api/query/messages.list');
  expect(request?.cache).toBe('no-store');
  const sent = new Headers(request?.headers);
  expect([sent.get('cookie'), sent.get('authorization'), sent.get('host')]).toEqual(['session=1', 'Bearer mine', null]);
  expect(sent.get('convoy-preload')).toBe('true');
  fetched.mockRestore();
});
