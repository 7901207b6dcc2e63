/**
 * `betterAuth`: sessions of Better Auth, verified by the instance of the program. Imports nothing of Better Auth.
 *
 * The session is read from the database in every call: neither Better Auth's cookie cache, which lets a deleted session
 * live on for minutes, nor its refresh, whose cookie a live query could not send. Its own routes refresh sessions.
 */

import { type AuthUser, ConvoyError, type ConvoyRequest } from '@avvos/convoy';
import { type AuthAdapter, defineAdapter } from './adapter.js';
import { betterAuthSecuritySchemes } from './better-auth-schemes.js';
import { bearerToken, cookieHeader } from './credentials.js';
import { text } from './jwt/claims.js';
import { BOOLEAN, checkOptions, FUNCTION, kindOf, type OptionRules } from './options.js';
import { type PlainData, plainData } from './plain-data.js';
import { unauthorized, unavailable } from './refusals.js';

/** What the adapter uses of an instance of Better Auth. */
export interface BetterAuthInstance {
  /** Its options, of which the adapter reads where sessions are stored. */
  readonly options: object;
  /** Its endpoints as functions. */
  readonly api: {
    // biome-ignore lint/suspicious/noExplicitAny: the type of an endpoint depends on the options of the instance.
    readonly getSession: (input: any) => Promise<unknown>;
  };
  /** Its types. */
  readonly $Infer: { readonly Session: { readonly session: object; readonly user: object } };
}

/** A session and its user, as Better Auth returns them. */
export type BetterAuthSession<Instance extends BetterAuthInstance> = Instance['$Infer']['Session'];

/**
 * The user of a session: the record of the user with dates in milliseconds, and the organization and roles that plugins
 * store. Fields of the record that have the name of one of these members are left out.
 */
export type BetterAuthUser<Instance extends BetterAuthInstance> = Omit<
  PlainData<BetterAuthSession<Instance>['user']>,
  SetByAdapter
> &
  AuthUser & {
    /** The user who impersonates this one. */
    readonly impersonator?: string;
  };

/** The options of `betterAuth`. */
export interface BetterAuthOptions<Instance extends BetterAuthInstance, User extends AuthUser> {
  /** Also accepts session tokens in the header `authorization`. Needs Better Auth's plugin `bearer`. Default: false. */
  readonly bearer?: boolean;
  /** The user of a session. `standard` is the user by default. */
  readonly user?: (found: BetterAuthSession<Instance>, standard: BetterAuthUser<Instance>) => User;
}

const OPTIONS: OptionRules<BetterAuthOptions<BetterAuthInstance, AuthUser>> = { bearer: BOOLEAN, user: FUNCTION };

/**
 * Accepts sessions of Better Auth. `organization` is the active organization of the plugin `organization`, `roles` are
 * those of the plugin `admin`, or of a field `role` with `input: false`. Without a session, or with one that has ended, the
 * caller is not signed in.
 *
 * @example
 * export const auth = betterAuth(betterAuthInstance);
 */
export function betterAuth<Instance extends BetterAuthInstance, User extends AuthUser = BetterAuthUser<Instance>>(
  instance: Instance,
  options: BetterAuthOptions<Instance, User> = {},
): AuthAdapter<User> {
  checkInstance(instance);
  checkOptions('betterAuth(instance, { … })', options, OPTIONS);
  const { bearer = false } = options;
  // Without a database, the cookie is the session.
  const stores = instance.options as { readonly database?: unknown; readonly secondaryStorage?: unknown };
  const isStored = stores.database !== undefined || stores.secondaryStorage !== undefined;
  const query = { disableRefresh: true, disableCookieCache: isStored };
  // Without `user`, `User` is its default.
  const userOf = options.user ?? ((_: unknown, user: BetterAuthUser<Instance>) => user as unknown as User);
  const adapter = defineAdapter<User>({
    accepts: 'a session of Better Auth that has not ended',
    ...(bearer ? { headers: ['authorization'] } : {}),
    async identify(req) {
      const token = bearer ? bearerToken(req) : null;
      const cookie = token === null ? cookieHeader(req) : null;
      if (token === null && cookie === null) return null;
      const credentials = cookie === null ? { authorization: `Bearer ${token}` } : { cookie };
      const headers = new Headers({ ...credentials, ...addressOf(req) });
      const found = await readSession(instance, { headers, query });
      // Also for an unknown bearer token, which may be of another adapter; if no other accepts it, the request is refused.
      if (found === null) return null;
      return { user: userOf(found, userIn(instance, found)), expiresAt: expiryOf(found) };
    },
  });
  return {
    ...adapter,
    // Only when asked: an adapter may be made for each call.
    get securitySchemes() {
      return betterAuthSecuritySchemes(instance.options, { bearer });
    },
  };
}

function checkInstance(instance: Partial<BetterAuthInstance> | null | undefined): void {
  const { options, api } = instance ?? {};
  if (typeof options === 'object' && options !== null && typeof api?.getSession === 'function') return;
  const given = typeof instance === 'object' && instance !== null ? 'an object without these' : kindOf(instance);
  throw new TypeError(
    `betterAuth takes an instance of Better Auth, which has \`options\` and \`api.getSession\`; ${given} was given.`,
  );
}

/** The headers from which an instance without a fixed `baseURL` learns it, and so the name of its cookie. */
function addressOf({ headers }: ConvoyRequest): Record<string, string> {
  const names = ['host', 'x-forwarded-host', 'x-forwarded-proto'];
  return Object.fromEntries(
    names
      .map((name) => [name, headers[name]])
      .filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

async function readSession<Instance extends BetterAuthInstance>(
  { api }: Instance,
  input: object,
): Promise<BetterAuthSession<Instance> | null> {
  try {
    return (await api.getSession(input)) as BetterAuthSession<Instance> | null;
  } catch (error) {
    // Better Auth's APIError; a copy of another version has another class.
    const { statusCode } = error as { readonly statusCode?: unknown };
    if (statusCode === 401) throw unauthorized('The session is not valid. Sign in again.', error);
    if (typeof statusCode === 'number' && statusCode >= 500) {
      throw unavailable('The session could not be read. Is the database of Better Auth reachable?', error);
    }
    throw error;
  }
}

function expiryOf({ session }: { readonly session: object }): number {
  const { expiresAt } = session as { readonly expiresAt?: unknown };
  const time = new Date(expiresAt as string | Date).getTime();
  if (Number.isNaN(time)) throw new ConvoyError('INTERNAL', 'The session of Better Auth has no `expiresAt`.');
  return time;
}

/** The members that the adapter sets. In the record they may be fields that users fill in by themselves. */
type SetByAdapter = 'organization' | 'roles' | 'permissions' | 'impersonator';

function userIn<Instance extends BetterAuthInstance>(
  instance: Instance,
  found: BetterAuthSession<Instance>,
): BetterAuthUser<Instance> {
  const { organization: _o, roles: _r, permissions: _p, impersonator: _i, ...record } = found.user as AnyRecord;
  const stored = (model: 'user' | 'session', name: string): string | undefined =>
    isSetByServer(instance.options, model, name) ? text((found[model] as AnyRecord)[name]) : undefined;
  const organization = stored('session', 'activeOrganizationId');
  const impersonator = stored('session', 'impersonatedBy');
  // The plugin `admin` stores several roles as one text.
  const roles = stored('user', 'role')
    ?.split(',')
    .map((each) => each.trim());
  return {
    ...plainData(record),
    ...(organization === undefined ? {} : { organization }),
    ...(roles === undefined ? {} : { roles }),
    ...(impersonator === undefined ? {} : { impersonator }),
  } as object as BetterAuthUser<Instance>;
}

type AnyRecord = Readonly<Record<string, unknown>>;
type Fields = Readonly<Record<string, { readonly input?: boolean } | undefined>>;

/**
 * Whether requests cannot set a field: the plugins declare theirs so. Users may set any other, at their sign-up or by
 * `update-user` and `update-session`. Of several declarations, that of the last plugin holds, as in Better Auth.
 */
function isSetByServer(options: object, model: 'user' | 'session', name: string): boolean {
  const { plugins = [], [model]: own } = options as {
    readonly plugins?: readonly {
      readonly schema?: Readonly<Record<string, { readonly fields: Fields } | undefined>>;
    }[];
    readonly user?: { readonly additionalFields?: Fields };
    readonly session?: { readonly additionalFields?: Fields };
  };
  const declared = [own?.additionalFields, ...plugins.map(({ schema }) => schema?.[model]?.fields)];
  return declared.findLast((fields) => fields?.[name] !== undefined)?.[name]?.input === false;
}
