/**
 * The credentials of Better Auth as security schemes, from its options alone: an adapter may be made for each call, when no
 * document is made. The cookie has the name that Better Auth gives it when an instance is created.
 */

import type { SecuritySchemes } from '@avvos/convoy';
import { BOOLEAN, checkOptions, kindOf } from './options.js';
import { sessionScheme } from './security-schemes.js';

/** What the name of the cookie follows from. */
interface CookieOptions {
  readonly baseURL?: string | { readonly protocol?: string };
  readonly advanced?: {
    readonly cookiePrefix?: string;
    readonly useSecureCookies?: boolean;
    readonly crossSubDomainCookies?: { readonly enabled?: boolean };
    readonly cookies?: { readonly session_token?: { readonly name?: string } };
  };
}

/**
 * The security schemes of the adapter `betterAuth` with the same options: `session`, and with `bearer: true` also `bearer`.
 * For `createAuthFor`, whose instance belongs to a call. `options` are those that are passed to Better Auth.
 *
 * @example
 * export const securitySchemes = betterAuthSecuritySchemes(authOptions);
 */
export function betterAuthSecuritySchemes(
  options: object,
  adapterOptions: { readonly bearer?: boolean } = {},
): SecuritySchemes {
  checkLibraryOptions('betterAuthSecuritySchemes', options);
  checkOptions('betterAuthSecuritySchemes(options, { … })', adapterOptions, { bearer: BOOLEAN });
  const { bearer = false } = adapterOptions;
  return {
    session: sessionScheme(cookieName(options), 'Better Auth'),
    ...(bearer
      ? { bearer: { type: 'http', scheme: 'bearer', description: 'The token of a session of Better Auth.' } }
      : {}),
  };
}

/** Throws a `TypeError` unless `options` can be those of Better Auth, whose members it checks itself. */
export function checkLibraryOptions(subject: string, options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`${subject} takes the options of Better Auth, not ${kindOf(options)}.`);
  }
  if ('api' in options && 'options' in options) {
    throw new TypeError(`${subject} takes the options of Better Auth, not an instance. Pass its \`options\`.`);
  }
}

function cookieName(options: CookieOptions): string {
  const { cookiePrefix, cookies } = options.advanced ?? {};
  const name = cookies?.session_token?.name || `${cookiePrefix || 'better-auth'}.session_token`;
  return `${isSecure(options) ? '__Secure-' : ''}${name}`;
}

function isSecure({ baseURL, advanced = {} }: CookieOptions): boolean {
  if (advanced.useSecureCookies !== undefined) return advanced.useSecureCookies;
  if (typeof baseURL === 'object' && baseURL !== null) {
    const { protocol } = baseURL;
    if (protocol === 'https' || protocol === 'http') return protocol === 'https';
    // Each host has its own cookie, whose name follows from the host; only that of a developer's computer has no HTTPS.
    if (advanced.crossSubDomainCookies?.enabled === true) return true;
    return isProduction();
  }
  const url = baseURL || urlOfEnvironment();
  return url ? /^https:/i.test(url) : isProduction();
}

/** The variables by which Better Auth finds its URL, in its order. */
function urlOfEnvironment(): string | undefined {
  const { env } = process;
  return (
    env.BETTER_AUTH_URL ||
    env.NEXT_PUBLIC_BETTER_AUTH_URL ||
    env.PUBLIC_BETTER_AUTH_URL ||
    env.NUXT_PUBLIC_BETTER_AUTH_URL ||
    env.NUXT_PUBLIC_AUTH_URL ||
    (env.BASE_URL === '/' ? undefined : env.BASE_URL)
  );
}

function isProduction(): boolean {
  return process.env.NODE_ENV === 'production';
}
