/** Options that are misspelt, missing or of another type, for each function that this package exports. */

import { expect, test } from 'vitest';
import { compose, defineAdapter } from './adapter.js';
import { anonymous } from './anonymous.js';
import { apiKeys, createApiKey, hashApiKey } from './api-keys.js';
import { authJs } from './authjs/auth-js.js';
import { betterAuth } from './better-auth.js';
import { convoyAdapter, createAuthFor } from './better-auth-adapter/adapter.js';
import { betterAuthTables } from './better-auth-adapter/tables.js';
import { betterAuthSecuritySchemes } from './better-auth-schemes.js';
import { jwt } from './jwt/jwt.js';
import { auth0 } from './presets/auth0.js';
import { clerk } from './presets/clerk.js';
import { firebase } from './presets/firebase.js';
import { oidc } from './presets/oidc.js';
import { supabase } from './presets/supabase.js';
import { workos } from './presets/workos.js';
import { mergeSecuritySchemes } from './security-schemes.js';

const secret = 'a secret of 32 bytes, or more, for tests';
const issuer = 'https://login.example.com';
const url = 'https://abcdefgh.supabase.co';
const authorizedParties = ['https://example.com'];
const identify = async () => null;
const instance = { options: {}, api: { getSession: async () => null } };
const auth0Options = { domain: 'a.auth0.com', audience: 'api' };

/** The functions, as programs in JavaScript call them: with anything. */
// biome-ignore lint/suspicious/noExplicitAny: the compiler would refuse most of these options.
type Call = (...given: any[]) => unknown;
const call = (fn: unknown) => fn as Call;

/** Functions with options, and options that they accept. */
const accepted: readonly [name: string, make: Call, options: object][] = [
  ['jwt', call(jwt), { issuer, audience: 'api' }],
  ['auth0', call(auth0), auth0Options],
  ['clerk', call(clerk), { issuer, authorizedParties }],
  ['firebase', call(firebase), { projectId: 'example' }],
  ['oidc', call(oidc), { issuer, audience: 'api' }],
  ['supabase', call(supabase), { url }],
  ['workos', call(workos), { clientId: 'client_1' }],
];

test.each(accepted)('%s checks the options of all tokens', (name, make, options) => {
  const subject = `${name}({ … })`;
  expect(() => make({ ...options, validate: undefined, requiredClaims: ['email'], allowHttp: false })).not.toThrow();
  const messages: readonly [unknown, string][] = [
    [undefined, `${subject} takes an object of options, not undefined.`],
    [null, `${subject} takes an object of options, not null.`],
    [issuer, `${subject} takes an object of options, not a string.`],
    [[options], `${subject} takes an object of options, not an array.`],
    [
      { ...options, requiredClaim: ['email'] },
      `${subject} has no option "requiredClaim". Did you mean requiredClaims?`,
    ],
    [{ ...options, validte: () => false }, `${subject} has no option "validte". Did you mean validate?`],
    [{ ...options, allowHttp: 'false' }, "`allowHttp` must be true or false; 'false' was given."],
    [{ ...options, allowHttp: 1 }, '`allowHttp` must be true or false; 1 was given.'],
    [
      { ...options, requiredClaims: 'email_verified' },
      "`requiredClaims` must be a list of texts, as in `['email']`; 'email_verified' was given.",
    ],
    [
      { ...options, requiredClaims: [{}] },
      "`requiredClaims` must be a list of texts, as in `['email']`; [ {} ] was given.",
    ],
    [{ ...options, validate: true }, '`validate` must be a function; true was given.'],
    [{ ...options, validate: null }, '`validate` must be a function; null was given.'],
    [{ ...options, user: { id: 'u' } }, '`user` must be a function; an object was given.'],
    [{ ...options, clockTolerance: '5' }, "`clockTolerance` must be a number between 0 and 60 seconds; '5' was given."],
    [{ ...options, idPrefix: 1 }, '`idPrefix` must be a text, as in `auth0:`; 1 was given.'],
    [
      { ...options, jwks: [{ kty: 'RSA' }] },
      '`jwks` must be the URL of the keys, or an object with the list `keys`; [ [Object] ] was given.',
    ],
    [
      { ...options, jwks: Promise.resolve({ keys: [] }) },
      '`jwks` must be the URL of the keys, or an object with the list `keys`; a promise was given.',
    ],
    [{ ...options, jwks: { keys: [] } }, '`jwks` cannot be used: the key set has no public key for signatures.'],
  ];
  for (const [given, message] of messages) expect(() => make(given)).toThrow(new TypeError(message));
});

const tokens = { issuer, audience: 'api' };
const cases: readonly [text: string, make: () => unknown, message: string][] = [
  ...refused('jwt', jwt, [
    [{ ...tokens, algoritms: ['RS256'] }, 'jwt({ … }) has no option "algoritms". Did you mean algorithms?'],
    [{ ...tokens, algorithms: 'RS256' }, "`algorithms` must be a list of texts, as in `['RS256']`; 'RS256' was given."],
    [
      { ...tokens, algorithms: [] },
      '`algorithms` may contain RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519 with ' +
        'public keys; an empty list was given.',
    ],
    [
      { ...tokens, types: 'JWT' },
      "`types` must be a list of texts that is not empty, as in `['JWT']`; 'JWT' was given.",
    ],
    [{ ...tokens, types: [] }, "`types` must be a list of texts that is not empty, as in `['JWT']`; [] was given."],
    [{ ...tokens, secret: 123_456 }, '`secret` must be a text or a Uint8Array; a number was given.'],
    [{ ...tokens, secret: ['x'.repeat(40)] }, '`secret` must be a text or a Uint8Array; an array was given.'],
    [{ ...tokens, secret: null }, '`secret` must be a text or a Uint8Array; null was given.'],
    [{}, textMessage('issuer', issuer, 'undefined', true)],
    [{ ...tokens, issuer: '' }, textMessage('issuer', issuer, "''", true)],
    [{ ...tokens, issuer: [issuer] }, textMessage('issuer', issuer, `[ '${issuer}' ]`)],
  ]),
  ...refused('oidc', oidc, [
    [{ ...tokens, secret }, 'oidc({ … }) has no option "secret". The options are issuer, audience, authorizedParties,'],
    [{ audience: 'api' }, textMessage('issuer', issuer, 'undefined', true)],
    [{ ...tokens, client: ['api'] }, textMessage('client', 'api', "[ 'api' ]")],
  ]),
  ...refused('auth0', auth0, [
    [{ audience: 'api' }, '`domain` must be a host name, as in `example.eu.auth0.com`; undefined was given.'],
    [{ domain: 'a.auth0.com' }, 'Set `audience`'],
    [{ ...auth0Options, issuer }, 'auth0({ … }) has no option "issuer". The options are domain, audience, namespace,'],
    [{ ...auth0Options, namespace: true }, '`namespace` must be a text, as in `https://example.com/`; true was given.'],
  ]),
  ...refused('clerk', clerk, [
    [{ issuer: 5, authorizedParties }, textMessage('issuer', 'https://clerk.example.com', '5')],
    [{ publishableKey: 5, authorizedParties }, '`publishableKey` must be a text, as in `pk_live_…`; 5 was given.'],
    [
      { issuer, publishableKey: 5, authorizedParties },
      '`publishableKey` must be a text, as in `pk_live_…`; 5 was given.',
    ],
    [{ issuer: 'clerk.example.com', authorizedParties }, "`issuer` must be a URL; 'clerk.example.com' was given."],
    [{ issuer: 'http://clerk.example.com', authorizedParties }, '`issuer` must begin with https://'],
    [{ issuer, authorizedParties, algorithms: ['HS256'] }, 'clerk({ … }) has no option "algorithms". The options are'],
    [
      { issuer, authorisedParties: authorizedParties },
      'clerk({ … }) has no option "authorisedParties". Did you mean authorizedParties?',
    ],
  ]),
  ...refused('supabase', supabase, [
    [{}, textMessage('url', url, 'undefined', true)],
    [{ url: '' }, textMessage('url', url, "''", true)],
    [{ url: '', secret }, textMessage('url', url, "''", true)],
    [{ url: 'abcdefgh', secret }, "`url` must be a URL; 'abcdefgh' was given."],
    [{ url: 'abcdefgh' }, "`url` must be a URL; 'abcdefgh' was given."],
    [{ url: new URL(url) }, textMessage('url', url, 'an object')],
    [{ url: 'http://supabase.internal' }, '`url` must begin with https://'],
    [{ url, secret: 5 }, '`secret` must be a text or a Uint8Array; a number was given.'],
    [{ url, audience: 'x' }, 'supabase({ … }) has no option "audience". The options are url, secret,'],
  ]),
  ...refused('firebase', firebase, [
    [{}, '`projectId` must be the id of a Firebase project; undefined was given.'],
    [{ projectId: null }, '`projectId` must be the id of a Firebase project; null was given.'],
    [{ projectId: ['p'] }, "`projectId` must be the id of a Firebase project; [ 'p' ] was given."],
    [{ projectId: 'p', tenant: '' }, textMessage('tenant', 'tenant-1', "''", true)],
    [{ projectId: 'p', tennant: 't' }, 'firebase({ … }) has no option "tennant". Did you mean tenant?'],
  ]),
  ...refused('workos', workos, [
    [{}, '`clientId` must be a client id of WorkOS, as in `client_01H…`; undefined was given.'],
    [{ clientId: ['client_1'] }, '`clientId` must be a client id of WorkOS'],
    [{ clientId: 'client_1', issuer: [] }, '`issuer` must be a text, or a list of texts'],
    [{ clientId: 'client_1', audience: 'x' }, 'workos({ … }) has no option "audience". The options are clientId,'],
  ]),
  ...refused('apiKeys', apiKeys, [
    [undefined, 'apiKeys({ … }) takes an object of options, not undefined.'],
    [{ prefix: 'acme' }, '`find` must be a function; undefined was given.'],
    [{ prefix: 'acme', find: 'x' }, "`find` must be a function; 'x' was given."],
    [{ find: identify }, 'The prefix of an API key consists of'],
    [{ prefix: ['acme'], find: identify }, 'The prefix of an API key consists of'],
    [
      { prefix: 'acme', find: identify, headers: 'x-key' },
      'apiKeys({ … }) has no option "headers". Did you mean header?',
    ],
    [
      { prefix: 'acme', find: identify, header: '' },
      "`header` must be the name of a header, as in `x-api-key`; '' was given. Is an environment variable unset?",
    ],
    [
      { prefix: 'acme', find: identify, header: 'x api key' },
      "`header` must be the name of a header, as in `x-api-key`; 'x api key' was given.",
    ],
    [
      { prefix: 'acme', find: identify, header: ['x-key'] },
      "`header` must be the name of a header, as in `x-api-key`; [ 'x-key' ] was given.",
    ],
  ]),
  ...refused('createApiKey', createApiKey, [
    [undefined, 'createApiKey({ … }) takes an object of options, not undefined.'],
    ['acme', 'createApiKey({ … }) takes an object of options, not a string.'],
    [{}, 'The prefix of an API key consists of'],
    [{ prefix: 'acme', length: 3 }, 'createApiKey({ … }) has no option "length". The options are prefix.'],
  ]),
  ...refused('hashApiKey', hashApiKey, [[undefined, 'hashApiKey takes the text of a key, not undefined.']]),
  ...refused('anonymous', anonymous, [
    [undefined, 'anonymous({ … }) takes an object of options, not undefined.'],
    [{}, '`secret` must be a text or a Uint8Array; undefined was given. Is an environment variable unset?'],
    [{ secret: 5 }, '`secret` must be a text or a Uint8Array; a number was given.'],
    [{ secret, day: 3 }, 'anonymous({ … }) has no option "day". Did you mean days?'],
    ...[Number.POSITIVE_INFINITY, Number.NaN, 0, -1, 36_501, '30', null].map((days): [unknown, string] => [
      { secret, days },
      `\`days\` must be a positive number, at most 36500; ${typeof days === 'string' ? `'${days}'` : days} was given.`,
    ]),
  ]),
  ...refused('defineAdapter', defineAdapter, [
    [undefined, 'defineAdapter takes an adapter, an object with `accepts` and `identify`, not undefined.'],
    [{ identify }, textMessage('accepts', 'a token of https://example.com', 'undefined')],
    [{ accepts: 'x' }, '`identify` must be a function; undefined was given.'],
    [
      { accepts: 'x', identify, header: ['x'] },
      'defineAdapter: an adapter has no member "header". Did you mean headers?',
    ],
    [
      { accepts: 'x', identify, headers: 'x-key' },
      "`headers` must be a list of names of headers in lower case; 'x-key'",
    ],
    [
      { accepts: 'x', identify, headers: ['X-Key'] },
      "`headers` must be a list of names of headers in lower case; [ 'X-K",
    ],
    [
      { accepts: 'x', identify, securitySchemes: [] },
      "Security schemes are an object, as in `{ bearer: { type: 'http', scheme: 'bearer' } }`; an array was given.",
    ],
  ]),
  ...refused('compose', compose, [
    [[jwt(tokens)], 'compose takes an adapter, an object with `accepts` and `identify`, not an array.'],
    [undefined, 'compose takes an adapter, an object with `accepts` and `identify`, not undefined.'],
    [identify, 'compose takes an adapter, an object with `accepts` and `identify`, not a function.'],
    [{ accepts: 'x' }, '`identify` must be a function; undefined was given.'],
    [{ accepts: 'x', identify, header: ['x'] }, 'compose: an adapter has no member "header". Did you mean headers?'],
  ]),
  ['compose()', () => call(compose)(), 'compose(…) takes one adapter or more; none was given.'],
  ...refused('mergeSecuritySchemes', mergeSecuritySchemes, [
    [
      undefined,
      "Security schemes are an object, as in `{ bearer: { type: 'http', scheme: 'bearer' } }`; undefined was given.",
    ],
    [
      [{}],
      "Security schemes are an object, as in `{ bearer: { type: 'http', scheme: 'bearer' } }`; an array was given.",
    ],
    [{ bearer: 'x' }, "The security scheme `bearer` must be an object with the text `type`; 'x' was given."],
    [{ bearer: {} }, 'The security scheme `bearer` must be an object with the text `type`; an object was'],
  ]),
  ...refused('betterAuth', betterAuth, [
    [
      undefined,
      'betterAuth takes an instance of Better Auth, which has `options` and `api.getSession`; undefined was given.',
    ],
    [
      { secret },
      'betterAuth takes an instance of Better Auth, which has `options` and `api.getSession`; an object without these',
    ],
    [
      { options: {}, api: {} },
      'betterAuth takes an instance of Better Auth, which has `options` and `api.getSession`; an object without',
    ],
  ]),
  ...refused('betterAuth(instance, …)', (options: object) => call(betterAuth)(instance, options), [
    [null, 'betterAuth(instance, { … }) takes an object of options, not null.'],
    [{ bearer: 'false' }, "`bearer` must be true or false; 'false' was given."],
    [{ user: 'x' }, "`user` must be a function; 'x' was given."],
    [{ barer: true }, 'betterAuth(instance, { … }) has no option "barer". Did you mean bearer?'],
  ]),
  ...refused('betterAuthSecuritySchemes', betterAuthSecuritySchemes, [
    [undefined, 'betterAuthSecuritySchemes takes the options of Better Auth, not undefined.'],
    [instance, 'betterAuthSecuritySchemes takes the options of Better Auth, not an instance. Pass its `options`.'],
  ]),
  ...refused('betterAuthSecuritySchemes({}, …)', (options: object) => call(betterAuthSecuritySchemes)({}, options), [
    [{ bearer: 'false' }, "`bearer` must be true or false; 'false' was given."],
    [{ user: identify }, 'betterAuthSecuritySchemes(options, { … }) has no option "user". The options are bearer.'],
    [true, 'betterAuthSecuritySchemes(options, { … }) takes an object of options, not a boolean.'],
  ]),
  ...refused('betterAuthTables', betterAuthTables, [
    [undefined, 'betterAuthTables takes the options of Better Auth, not undefined.'],
    [instance, 'betterAuthTables takes the options of Better Auth, not an instance. Pass its `options`.'],
  ]),
  ...refused('convoyAdapter', convoyAdapter, [
    [undefined, 'The adapter of Better Auth takes the `ctx` of a call, or the `base` of createContext; undefined was'],
    [
      {},
      'The adapter of Better Auth takes the `ctx` of a call, or the `base` of createContext; an object without `db`',
    ],
  ]),
  ...refused('createAuthFor', createAuthFor, [
    [undefined, 'createAuthFor takes a function that makes an instance of Better Auth, not undefined.'],
    [{}, 'createAuthFor takes a function that makes an instance of Better Auth, not an object.'],
  ]),
  ...refused('authFor', (made: unknown) => call(createAuthFor(() => made as never))({ db: {} }), [
    [undefined, 'The function of createAuthFor must return an instance of Better Auth; it returned undefined.'],
    [Promise.resolve(), 'The function of createAuthFor must return an instance of Better Auth; it returned a promise.'],
  ]),
  ...refused('authJs', authJs, [
    [undefined, 'authJs takes the configuration of Auth.js, an object with the list `providers`; undefined was given.'],
    [
      () => ({}),
      'authJs takes the configuration of Auth.js, an object with the list `providers`; a function was given.',
    ],
    [
      { secret },
      'authJs takes the configuration of Auth.js, an object with the list `providers`; an object without it was given.',
    ],
  ]),
  ...refused('authJs(config, …)', (options: object) => call(authJs)({ secret, providers: [] }, options), [
    [null, 'authJs(config, { … }) takes an object of options, not null.'],
    [{ secureCookies: 'false' }, "`secureCookies` must be true or false; 'false' was given."],
    [{ user: 'x' }, "`user` must be a function; 'x' was given."],
    [{ secureCookie: true }, 'authJs(config, { … }) has no option "secureCookie". Did you mean secureCookies?'],
  ]),
];

function refused(
  name: string,
  make: unknown,
  options: readonly (readonly [given: unknown, message: string])[],
): [string, () => unknown, string][] {
  return options.map(([given, message]) => [`${name}: ${message}`, () => call(make)(given), message]);
}

function textMessage(name: string, example: string, given: string, isUnset = false): string {
  const hint = isUnset ? ' Is an environment variable unset?' : '';
  return `\`${name}\` must be a text that is not empty, as in \`${example}\`; ${given} was given.${hint}`;
}

test.each(cases)('%s', (_, make, message) => {
  let thrown: unknown;
  try {
    make();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(TypeError);
  expect((thrown as TypeError).message.slice(0, message.length)).toBe(message);
});

test('a key that `find` answers with undefined is a mistake, and not one of Convoy', async () => {
  const { key } = createApiKey({ prefix: 'acme' });
  const auth = call(apiKeys)({ prefix: 'acme', find: async () => undefined }) as ReturnType<typeof apiKeys>;
  const context = auth.context({ headers: { 'x-api-key': key } }, undefined);
  await expect(context).rejects.toThrow(
    'apiKeys: `find` returned undefined. Return null for a key that does not exist',
  );
});

test('an adapter may have more members, and be made of another', () => {
  const guests = anonymous({ secret });
  expect(() => compose(guests, defineAdapter({ ...guests, accepts: 'a guest' }))).not.toThrow();
  class Own {
    accepts = 'a service';
    db = {};
    identify = identify;
  }
  expect(() => compose(defineAdapter(new Own()))).not.toThrow();
});

test('the security schemes of an adapter are not made before they are asked for', () => {
  const adapter = {
    accepts: 'x',
    identify,
    get securitySchemes(): never {
      throw new Error('made too early');
    },
  };
  expect(() => compose(adapter)).not.toThrow();
});
