import { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { API_PATHS, type ProxyTarget, proxyToConvoy } from './proxy.js';

describe('the paths', () => {
  const pattern = new RegExp(API_PATHS);
  it.each(['/api', '/api/', '/api/query/a.b', '/api?x'])('include %s', (url) => expect(url).toMatch(pattern));
  it.each(['/', '/apis', '/src/api/x', '/api-docs'])('exclude %s', (url) => expect(url).not.toMatch(pattern));
});

describe('a request', () => {
  function bypass(target: ProxyTarget | null, upgrade = false) {
    let body = '';
    const response = new ServerResponse({ method: 'POST' } as never);
    response.end = ((text: string) => {
      body = text;
      return response;
    }) as never;
    const { bypass: decide } = proxyToConvoy(() => target);
    const decision = decide?.({} as never, upgrade ? undefined : response, {});
    return { decision, status: response.statusCode, body: body === '' ? null : JSON.parse(body) };
  }

  it('passes while Convoy serves, also if the newest code has a problem', () => {
    const problem = { message: 'broken', diagnostics: [] };
    expect(bypass({ url: 'http://127.0.0.1:1', problem }).decision).toBeNull();
  });

  it('is UNAVAILABLE with the reason while Convoy does not serve', () => {
    const starting = bypass(null);
    expect(starting).toMatchObject({ status: 503, body: { ok: false, error: { code: 'UNAVAILABLE' } } });
    expect(starting.body.error.message).toBe('Convoy does not serve yet: it is starting.');
    const broken = bypass({ url: null, problem: { message: 'There is no database.', diagnostics: [] } });
    expect(broken.body.error.message).toBe('Convoy does not serve yet: There is no database.');
  });

  it('for an upgrade is rejected then', () => {
    expect(bypass(null, true).decision).toBe(false);
  });

  it('goes to the URL that is current when it arrives', () => {
    let target: ProxyTarget = { url: null, problem: null };
    const entry = proxyToConvoy(() => target);
    const options = { ...entry };
    entry.configure?.({ on: () => {} } as never, options);
    expect({ ...options }.target).toBeUndefined();
    target = { url: 'http://127.0.0.1:7', problem: null };
    expect({ ...options }.target).toBe('http://127.0.0.1:7');
  });
});
