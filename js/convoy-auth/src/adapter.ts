/**
 * Adapters: each turns one kind of credentials into an identity. `compose` asks several.
 *
 * A request has one identity. Credentials in a header are explicit, and decide over cookies, which browsers add to every
 * request; two headers with credentials contradict each other, and are refused. Credentials that no adapter accepts are
 * refused, too: a caller whose token has a fault is never treated as one who is not signed in.
 */

import {
  type Auth,
  type AuthUser,
  type ConvoyRequest,
  createAuth,
  type Identity,
  type SecuritySchemes,
} from '@avvos/convoy';
import { hasCredentials } from './credentials.js';
import { checkTypes, FUNCTION, kindOf, nearest, type OptionRules, required, textLike } from './options.js';
import { unauthorized } from './refusals.js';
import { checkSchemes, mergeSecuritySchemes } from './security-schemes.js';

/** The members that an adapter adds to the context of a call. */
export interface AuthContext<User extends AuthUser = AuthUser> {
  /** The caller, for handlers: `ctx.auth`. */
  readonly auth: Auth<User>;
  /** When the credentials expire, in milliseconds since 1970; Convoy ends live queries at that time. */
  readonly expiresAt?: number;
}

/** How an adapter recognises credentials: all that a new kind of credentials has to define. */
export interface AuthAdapterDefinition<User extends AuthUser = AuthUser, Base = unknown> {
  /** What the adapter accepts, for error messages: `a token of https://example.com`. */
  readonly accepts: string;
  /**
   * The headers, in lower case, in which the adapter looks for credentials. Without any, it is only asked about requests
   * that have no credentials in a header.
   */
  readonly headers?: readonly string[];
  /**
   * The credentials as security schemes of OpenAPI, for the document of the application. Each identifies a caller by
   * itself. Default: none, so that the document does not mention them.
   */
  readonly securitySchemes?: SecuritySchemes;
  /**
   * The identity of a request; `null` if it carries no credentials of this kind. Throws `UNAUTHORIZED` for credentials
   * that do not hold, and `UNAVAILABLE` if they cannot be checked at present.
   */
  identify(req: ConvoyRequest, base: Base): Promise<Identity<User> | null>;
}

/** Turns the credentials of a request into `ctx.auth`. */
export interface AuthAdapter<User extends AuthUser = AuthUser, Base = unknown>
  extends AuthAdapterDefinition<User, Base> {
  /** The credentials that are accepted: export them as `securitySchemes` from `convoy/server.ts`. */
  readonly securitySchemes: SecuritySchemes;
  /**
   * The members `auth` and `expiresAt` for the result of `createContext`. `auth.user` is `null` for a request without
   * credentials.
   */
  context(req: ConvoyRequest, base: Base): Promise<AuthContext<User>>;
}

/** Creates an adapter for a kind of credentials that this package does not know. */
export function defineAdapter<User extends AuthUser, Base = unknown>(
  definition: AuthAdapterDefinition<User, Base>,
): AuthAdapter<User, Base> {
  checkAdapter('defineAdapter', definition);
  const { securitySchemes = {} } = definition;
  checkSchemes(securitySchemes);
  return { ...definition, securitySchemes, context: (req, base) => contextOf([definition], req, base) };
}

/** What an adapter must be. Not its security schemes: they are only asked for when a document is made. */
const MEMBERS: OptionRules<Omit<AuthAdapterDefinition, 'securitySchemes'>> = {
  accepts: required({ ...textLike('a token of https://example.com'), isFromEnvironment: false }),
  headers: {
    must: 'a list of names of headers in lower case',
    holds: (value) =>
      Array.isArray(value) && value.every((name) => typeof name === 'string' && /^[^A-Z\s]+$/.test(name)),
  },
  identify: required(FUNCTION),
};

/** Throws a `TypeError` unless `adapter` is one. It may have members of its own, but no misspelt one. */
function checkAdapter(subject: string, adapter: object): void {
  if (typeof adapter !== 'object' || adapter === null || Array.isArray(adapter)) {
    throw new TypeError(
      `${subject} takes an adapter, an object with \`accepts\` and \`identify\`, not ${kindOf(adapter)}.`,
    );
  }
  const known = [...Object.keys(MEMBERS), 'securitySchemes', 'context'];
  for (const name of Object.keys(adapter).filter((each) => !known.includes(each))) {
    const close = nearest(name, known);
    if (close === null || close in adapter) continue;
    throw new TypeError(`${subject}: an adapter has no member ${JSON.stringify(name)}. Did you mean ${close}?`);
  }
  checkTypes(adapter, MEMBERS);
}

/** The user type of an adapter: `UserOf<typeof auth>`. */
export type UserOf<Adapter> = Adapter extends AuthAdapterDefinition<infer User, never> ? User : never;

/** What all adapters of a union need of `base`. */
type BaseOf<Adapters extends readonly unknown[]> = Adapters extends readonly [infer First, ...infer Rest]
  ? (First extends AuthAdapterDefinition<AuthUser, infer Base> ? Base : unknown) & BaseOf<Rest>
  : unknown;

/**
 * One adapter of several, asked in order; the first that finds its credentials in a request decides. If that one refuses
 * them, the request is refused.
 *
 * @example
 * const auth = compose(clerk({ … }), apiKeys({ … }));
 */
export function compose<
  // biome-ignore lint/suspicious/noExplicitAny: adapters need different bases, and no type has all of these as subtypes.
  const Adapters extends readonly [AuthAdapterDefinition<any, any>, ...AuthAdapterDefinition<any, any>[]],
>(...adapters: Adapters): AuthAdapter<UserOf<Adapters[number]>, BaseOf<Adapters>> {
  type User = UserOf<Adapters[number]>;
  if (adapters.length === 0) throw new TypeError('compose(…) takes one adapter or more; none was given.');
  for (const adapter of adapters as readonly object[]) checkAdapter('compose', adapter);
  const all = adapters as readonly AuthAdapterDefinition<User, BaseOf<Adapters>>[];
  return {
    accepts: all.map(({ accepts }) => accepts).join(', '),
    headers: [...new Set(all.flatMap(({ headers = [] }) => headers))],
    // Only when asked: an adapter may be made for each call.
    get securitySchemes() {
      return mergeSecuritySchemes(...all.map(({ securitySchemes = {} }) => securitySchemes));
    },
    identify: (req, base) => identityOf(all, req, base),
    context: (req, base) => contextOf(all, req, base),
  };
}

async function contextOf<User extends AuthUser, Base>(
  adapters: readonly AuthAdapterDefinition<User, Base>[],
  req: ConvoyRequest,
  base: Base,
): Promise<AuthContext<User>> {
  const identity = await identityOf(adapters, req, base);
  const auth = createAuth<User>(identity === null ? null : identity.user);
  return identity?.expiresAt === undefined ? { auth } : { auth, expiresAt: identity.expiresAt };
}

async function identityOf<User extends AuthUser, Base>(
  adapters: readonly AuthAdapterDefinition<User, Base>[],
  req: ConvoyRequest,
  base: Base,
): Promise<Identity<User> | null> {
  const header = credentialHeader(adapters, req);
  for (const adapter of adapters) {
    if (header !== null && !adapter.headers?.includes(header)) continue;
    const identity: Identity<User> | null | undefined = await adapter.identify(req, base);
    if (identity === undefined) {
      throw new TypeError(
        `\`identify\` of the adapter for ${adapter.accepts} returned undefined. Return null for a request without such ` +
          'credentials, and `{ user }` for one with good ones.',
      );
    }
    if (identity !== null) return identity;
  }
  if (header === null) return null;
  const asked = adapters.filter(({ headers }) => headers?.includes(header));
  const accepted = asked.map(({ accepts }) => accepts).join(', ') || 'none';
  throw unauthorized(`The credentials in the ${header} header are of no accepted kind. Accepted: ${accepted}.`);
}

/** The header that carries the credentials of a request; `null` if none does. A bearer token counts in any case. */
function credentialHeader(
  adapters: readonly { readonly headers?: readonly string[] }[],
  req: ConvoyRequest,
): string | null {
  const names = new Set(['authorization', ...adapters.flatMap(({ headers = [] }) => headers)]);
  const given = [...names].filter((name) => hasCredentials(req, name));
  if (given.length > 1) {
    throw unauthorized(`The request has two credentials, in the headers ${given.join(' and ')}. Send one of them.`);
  }
  return given[0] ?? null;
}
