/** Options of the client that would be ignored, or would fail later without a word about their cause. */
import { expect, test, vi } from 'vitest';
import { makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClientOptions, createConvoyClient } from './client.js';
import { preloadQuery } from './preload-query.js';

const create = (options: unknown) => () => createConvoyClient(options as ConvoyClientOptions).close();
const list = makeQueryRef<object, string[]>('rows.list');

const TAKES =
  'createConvoyClient takes {"baseUrl":"string","fetch":"function","headers":"object or function",' +
  '"auth":"string or function","traceparent":"function","persist":"object","cache":"object","transport":"object"}';

test.each([
  [{ baseURL: 'https://a.test' }, '`baseURL: string`'],
  [{ token: () => 'x' }, '`token: function`'],
  [{ token: undefined }, '`token: undefined`'],
  ['https://a.test', '`0: string`'],
  [{ baseUrl: 5 }, '`baseUrl: number`'],
  [{ baseUrl: new URL('https://a.test') }, '`baseUrl: object`'],
  [{ auth: { token: 'x' } }, '`auth: object`'],
  [{ headers: 'x-a: 1' }, '`headers: string`'],
  [{ fetch: 5 }, '`fetch: number`'],
  [{ persist: true }, '`persist: boolean`'],
  [{ cache: true }, '`cache: boolean`'],
  [{ cache: false }, '`cache: boolean`'],
  [{ traceparent: '00-0-0-00' }, '`traceparent: string`'],
  [{ transport: 'http' }, '`transport: string`'],
])('%o are refused with the list of options', (options, given) => {
  expect(create(options)).toThrow(new TypeError(`${TAKES}, not ${given}.`));
});

test.each(['localhost:1', 'app.example.org', './api', 'ws://a.test', 'file:///a'])(
  'the base URL %s is refused',
  (baseUrl) => {
    const message = `createConvoyClient takes a \`baseUrl\` with http:// or https://, not \`${baseUrl}\`.`;
    expect(create({ baseUrl })).toThrow(new TypeError(message));
  },
);

test.each(['https://a.test', 'HTTP://127.0.0.1:1/', '/below', '//a.test', '', undefined, null])(
  'the base URL %s is accepted',
  (baseUrl) => {
    expect(create({ baseUrl })).not.toThrow();
  },
);

test('every option is accepted, and one without a value counts as left out', () => {
  const kept = { store: {}, scope: () => null };
  const all: Record<keyof ConvoyClientOptions, unknown> = {
    baseUrl: 'https://a.test',
    fetch: () => {},
    headers: new Headers(),
    auth: 'x',
    traceparent: () => null,
    persist: kept,
    cache: kept,
    transport: { close: () => {} },
  };
  expect(create(all)).not.toThrow();
  for (const none of [undefined, null])
    expect(create(Object.fromEntries(Object.keys(all).map((name) => [name, none])))).not.toThrow();
  expect(create({ auth: () => 'x', headers: () => ({}) })).not.toThrow();
});

test.each([
  [{}, 'object'],
  [{ scope: 'ann' }, 'object'],
  [{ scope: async () => 'ann' }, 'object'],
  [{ scope: () => ({ id: 'ann' }) }, 'object'],
  [{ scope: () => 5 }, 'number'],
])('`persist` and `cache` of %o are refused, because it is unknown who is signed in', (kept, given) => {
  for (const name of ['persist', 'cache'])
    expect(create({ [name]: kept })).toThrow(`\`scope\` must return a string or null, not \`${given}\`.`);
});

test.each([{ token: 'x' }, 5, true])('an `auth` that returns %o fails, and sends nothing', async (returned) => {
  const fetch = vi.fn();
  for (const auth of [() => returned, async () => returned]) {
    const client = createConvoyClient({ baseUrl: 'https://a.test', fetch, auth: auth as never });
    const error = {
      code: 'UNAUTHORIZED',
      message: `\`auth\` must return a string or null, not \`${typeof returned}\`.`,
    };
    await expect(client.query(list, {})).rejects.toMatchObject(error);
    const query = client.liveQuery(list, {});
    await new Promise<void>((failed) => {
      query.subscribe(() => query.getSnapshot().status === 'error' && failed());
    });
    expect(query.getSnapshot().error).toMatchObject(error);
    client.close();
  }
  expect(fetch).not.toHaveBeenCalled();
});

test('an `auth` that returns nothing sends no token', async () => {
  const sent: unknown[] = [];
  const fetch = async (_url: unknown, init?: RequestInit) => {
    sent.push(new Headers(init?.headers).get('authorization'));
    return Response.json({ ok: true, data: [] });
  };
  for (const returned of [null, undefined, '']) {
    const client = createConvoyClient({ baseUrl: 'https://a.test', fetch, auth: () => returned });
    await client.query(list, {});
    client.close();
  }
  expect(sent).toEqual([null, null, null]);
});

test('a page is not preloaded with an `auth` that is an object', async () => {
  const options = { baseUrl: 'https://a.test', fetch: vi.fn(), auth: { token: 'x' } as never };
  await expect(preloadQuery(list, {}, options)).rejects.toThrow('`auth` must return a string or null');
  expect(options.fetch).not.toHaveBeenCalled();
});
