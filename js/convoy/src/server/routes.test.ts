import { describe, expect, test } from 'vitest';
import { createRouteBuilders, describeRoutes, isConvoyRoute, listRoutes } from './routes.js';

const route = createRouteBuilders<object>();
const ok = (): Response => new Response('ok');

describe('a route', () => {
  test('is described by method, path and options', () => {
    const routes = {
      b: route.post('/webhooks/:id', { timeoutMs: 5, crossSite: true }, ok),
      a: route.all('/größe/{x}/*rest', ok),
      root: route.get('/', ok),
      helper: () => 5,
      text: 'ignored',
    };
    expect(describeRoutes(routes)).toEqual([
      { name: 'a', method: 'ALL', path: '/gr%C3%B6%C3%9Fe/%7Bx%7D/*rest', options: {} },
      { name: 'b', method: 'POST', path: '/webhooks/:id', options: { timeoutMs: 5, crossSite: true } },
      { name: 'root', method: 'GET', path: '/', options: {} },
    ]);
    expect(listRoutes(routes).map(({ name }) => name)).toEqual(['a', 'b', 'root']);
    expect(listRoutes(undefined)).toEqual([]);
    expect(isConvoyRoute({ ...routes.root })).toBe(true);
    expect(isConvoyRoute({ method: 'GET', path: '/', options: {}, handler: ok })).toBe(false);
  });

  test.each([
    ['hook', 'begins with a slash'],
    ['', 'begins with a slash'],
    [5, 'begins with a slash'],
    ['/a//b', 'a segment is empty'],
    ['/a?b', 'no "?"'],
    ['/a%20b', 'no "%"'],
    ['/a b', 'no " "'],
    ['/a/../b', 'dot segments'],
    ['/:', ': is no parameter'],
    ['/:id.json', ':id.json is no parameter'],
    ['/:a/:a', 'two parameters are called a'],
    ['/:a/*a', 'two parameters are called a'],
    ['/*rest/b', '*rest takes the rest of a path, so it is last'],
    ['/\ud800', 'valid Unicode'],
  ])('of the path %j is refused when it is defined', (path, part) => {
    expect(() => route.get(path as string, ok)).toThrow(`route.get(${JSON.stringify(path)}): `);
    expect(() => route.get(path as string, ok)).toThrow(part);
  });

  test.each([
    [{ timeoutMs: 0 }, 'timeoutMs is a whole number'],
    [{ bodyBytes: -1 }, 'bodyBytes is a whole number'],
    [{ bodyBytes: 1.5 }, 'bodyBytes is a whole number'],
    [{ bodyBytes: '1' }, 'bodyBytes is a whole number'],
    [{ crossSite: 1 }, 'crossSite is true or false'],
    [{ cors: { origins: '*' } }, 'cors is { origins'],
    [{ csrf: false }, 'there is no option csrf'],
    [null, 'the options are an object'],
  ])('with the options %j is refused when it is defined', (options, part) => {
    expect(() => route.post('/x', options as never, ok)).toThrow(part);
  });

  test('without a handler is refused when it is defined', () => {
    expect(() => (route.put as (path: string) => unknown)('/x')).toThrow('route.put("/x") needs a handler');
    expect(() => route.put('/x', {}, {} as never)).toThrow('needs a handler');
  });

  test('may end with a slash and have colons and asterisks within a segment', () => {
    expect(route.get('/v1/files:batch/a*b/', ok).path).toBe('/v1/files:batch/a*b/');
  });
});
