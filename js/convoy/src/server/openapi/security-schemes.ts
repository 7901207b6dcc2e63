/**
 * How callers say who they are: the security schemes of the OpenAPI document, as an application states them. They describe
 * what its `createContext` accepts, and decide nothing. That one is a function, so the document cannot be made from it.
 */

import * as z from 'zod';
import { type ParseSubject, parseOrThrow } from '../../schema/index.js';
import { sendingProblem } from '../../values/json.js';

/** What every security scheme may have. */
export interface SecuritySchemeBase {
  /** What a caller has to know, as Markdown. */
  readonly description?: string;
  /** An extension of OpenAPI. */
  readonly [extension: `x-${string}`]: unknown;
}

/** A key in a header, a cookie or a parameter of the URL. */
export interface ApiKeyScheme extends SecuritySchemeBase {
  /** The kind of the scheme. */
  readonly type: 'apiKey';
  /** Where the key is. */
  readonly in: 'header' | 'cookie' | 'query';
  /** The name of the header, the cookie or the parameter. */
  readonly name: string;
}

/** The header `Authorization`. */
export interface HttpScheme extends SecuritySchemeBase {
  /** The kind of the scheme. */
  readonly type: 'http';
  /** The first word of the header: `bearer`, `basic`. */
  readonly scheme: string;
  /** What a bearer token is: `JWT`. A hint for readers. */
  readonly bearerFormat?: string;
}

/** A certificate of the client. */
export interface MutualTlsScheme extends SecuritySchemeBase {
  /** The kind of the scheme. */
  readonly type: 'mutualTLS';
}

/** One way to get a token of OAuth 2. Which URLs a flow has depends on the flow. */
export interface OAuthFlow {
  /** Where the user signs in: `implicit`, `authorizationCode`. */
  readonly authorizationUrl?: string;
  /** Where the client gets a token: `password`, `clientCredentials`, `authorizationCode`. */
  readonly tokenUrl?: string;
  /** Where the client renews a token. */
  readonly refreshUrl?: string;
  /** Scope → what it permits. */
  readonly scopes: Readonly<Record<string, string>>;
}

/** A bearer token that the client gets by OAuth 2. */
export interface OAuth2Scheme extends SecuritySchemeBase {
  /** The kind of the scheme. */
  readonly type: 'oauth2';
  /** The flows that the authorization server offers. */
  readonly flows: {
    readonly implicit?: OAuthFlow;
    readonly password?: OAuthFlow;
    readonly clientCredentials?: OAuthFlow;
    readonly authorizationCode?: OAuthFlow;
  };
}

/** A bearer token of a server that describes itself. */
export interface OpenIdConnectScheme extends SecuritySchemeBase {
  /** The kind of the scheme. */
  readonly type: 'openIdConnect';
  /** The URL of the discovery document. */
  readonly openIdConnectUrl: string;
}

/** A Security Scheme Object of OpenAPI 3.1. */
export type SecurityScheme = ApiKeyScheme | HttpScheme | MutualTlsScheme | OAuth2Scheme | OpenIdConnectScheme;

/** Name → scheme. A caller needs one of them. */
export type SecuritySchemes = Readonly<Record<string, SecurityScheme>>;

/**
 * The schemes that `value` states, for the document; `undefined` if nothing is stated. `source` is where it comes from.
 * Throws a `TypeError` for what is no valid set of schemes.
 */
export function checkedSchemes(value: unknown, source = '`securitySchemes`'): SecuritySchemes | undefined {
  if (value === undefined) return undefined;
  return parseOrThrow(SCHEMES, value, subjectOf(source)) as SecuritySchemes;
}

function subjectOf(source: string): ParseSubject {
  return {
    messagePrefix: `${source} has a mistake`,
    toError: (message) =>
      new TypeError(
        `${message}. Give the \`securitySchemes\` of an adapter of @avvos/convoy-auth, or security schemes of OpenAPI: ` +
          "{ bearer: { type: 'http', scheme: 'bearer' } }.",
      ),
  };
}

const text = z.string({ error: 'expected a text' }).min(1, 'expected a text that is not empty');
const url = z.url({ error: 'expected a complete URL' });
/** A token of HTTP, which the names of headers and cookies are. */
const name = text.regex(/^[\w!#$%&'*+.^`|~-]+$/, 'a name of a header or cookie has no spaces, and no separators');
const json = z.custom((value) => sendingProblem(value) === null, 'expected JSON');

/** An object with these members, and extensions. */
function extensible<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z
    .object({ ...shape, description: z.string().optional() })
    .catchall(json)
    .superRefine((value, context) => {
      for (const key of Object.keys(value)) {
        if (Object.hasOwn(shape, key) || key === 'description' || key.startsWith('x-')) continue;
        context.addIssue({ code: 'custom', path: [key], message: 'OpenAPI has no such member' });
      }
    });
}

const scopes = z.record(z.string(), z.string());
const flow = (urls: Record<string, z.ZodType>) => z.strictObject({ refreshUrl: url.optional(), scopes, ...urls });

const SCHEME = z.discriminatedUnion(
  'type',
  [
    z.discriminatedUnion(
      'in',
      [
        extensible({ type: z.literal('apiKey'), in: z.literal('query'), name: text }),
        extensible({ type: z.literal('apiKey'), in: z.enum(['header', 'cookie']), name }),
      ],
      { error: 'expected header, cookie or query' },
    ),
    extensible({ type: z.literal('http'), scheme: text, bearerFormat: text.optional() }),
    extensible({ type: z.literal('mutualTLS') }),
    extensible({
      type: z.literal('oauth2'),
      flows: z.strictObject({
        implicit: flow({ authorizationUrl: url }).optional(),
        password: flow({ tokenUrl: url }).optional(),
        clientCredentials: flow({ tokenUrl: url }).optional(),
        authorizationCode: flow({ authorizationUrl: url, tokenUrl: url }).optional(),
      }),
    }),
    extensible({ type: z.literal('openIdConnect'), openIdConnectUrl: url }),
  ],
  { error: 'expected a scheme whose `type` is apiKey, http, mutualTLS, oauth2 or openIdConnect' },
);

const SCHEMES = z
  .record(z.string(), SCHEME, { error: 'expected an object of schemes by name' })
  .superRefine((schemes, context) => {
    for (const key of Object.keys(schemes)) {
      // The names of all components of OpenAPI.
      if (/^[\w.-]+$/.test(key)) continue;
      const message = 'the name of a scheme consists of letters, digits, dots, hyphens and underscores';
      context.addIssue({ code: 'custom', path: [key], message });
    }
  });
