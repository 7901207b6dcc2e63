import { describe, expect, it } from 'vitest';
import { defineSchema } from '../../schema/index.js';
import { prepareProgram } from '../program.js';
import { checkedSchemes } from './security-schemes.js';

describe('security schemes', () => {
  it('are kept as given, with extensions', () => {
    const url = 'https://login.example.com';
    const schemes = {
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'A token.' },
      'api.key-1': { type: 'apiKey', in: 'header', name: 'x-api-key', 'x-rotates': { days: 30 } },
      parameter: { type: 'apiKey', in: 'query', name: 'keys[]' },
      session: { type: 'apiKey', in: 'cookie', name: '__Secure-session' },
      certificate: { type: 'mutualTLS' },
      openId: { type: 'openIdConnect', openIdConnectUrl: `${url}/.well-known/openid-configuration` },
      oauth: {
        type: 'oauth2',
        flows: {
          implicit: { authorizationUrl: url, scopes: {} },
          authorizationCode: { authorizationUrl: url, tokenUrl: url, refreshUrl: url, scopes: { read: 'Reads.' } },
          clientCredentials: { tokenUrl: url, scopes: {} },
          password: { tokenUrl: url, scopes: {} },
        },
      },
    };
    expect(checkedSchemes(schemes)).toEqual(schemes);
    expect(checkedSchemes({})).toEqual({});
    expect(checkedSchemes(undefined)).toBeUndefined();
  });

  const header = { type: 'apiKey', in: 'header', name: 'x-api-key' };
  it.each<[unknown, string]>([
    [null, ': expected an object of schemes by name.'],
    [Promise.resolve({}), ': expected an object of schemes by name.'],
    [[header], ': expected an object of schemes by name.'],
    [{ a: 'bearer' }, ' at a: expected a scheme whose `type` is apiKey, http, mutualTLS, oauth2 or openIdConnect.'],
    [header, ' at type: expected a scheme whose `type` is apiKey, http, mutualTLS, oauth2 or openIdConnect.'],
    [{ a: { type: 'basic' } }, ' at a.type: expected a scheme whose `type` is '],
    [{ a: { ...header, in: 'body' } }, ' at a.in: expected header, cookie or query.'],
    [{ a: { type: 'apiKey', in: 'header' } }, ' at a.name: expected a text.'],
    [{ a: { ...header, name: 'x api key' } }, ' at a.name: a name of a header or cookie has no spaces, and no'],
    [{ a: { type: 'http', scheme: '' } }, ' at a.scheme: expected a text that is not empty.'],
    [{ a: { ...header, headers: 'x' } }, ' at a.headers: OpenAPI has no such member.'],
    [{ a: { ...header, 'x-check': () => true } }, ' at a.x-check: expected JSON.'],
    [
      { a: { type: 'openIdConnect', openIdConnectUrl: '/sign-in' } },
      ' at a.openIdConnectUrl: expected a complete URL.',
    ],
    [{ a: { type: 'oauth2', flows: { password: { scopes: {} } } } }, ' at a.flows.password.tokenUrl: expected a'],
    [
      { 'my key': header },
      ' at my key: the name of a scheme consists of letters, digits, dots, hyphens and underscores.',
    ],
  ])('%j is refused', (schemes, problem) => {
    const check = () => checkedSchemes(schemes, '`securitySchemes` of convoy/server.ts');
    expect(check).toThrow(TypeError);
    expect(check).toThrow(`\`securitySchemes\` of convoy/server.ts has a mistake${problem}`);
    expect(check).toThrow(/Give the `securitySchemes` of an adapter of @avvos\/convoy-auth, or security schemes/);
  });

  it('are checked when a program is loaded', () => {
    const source = { schema: defineSchema({}), functions: {}, securitySchemes: { key: { ...header, in: 'body' } } };
    expect(() => prepareProgram(source as never)).toThrow('`securitySchemes` has a mistake at key.in');
  });
});
