/** `auth0`: access tokens of Auth0 for an API. */

import type { AuthUser } from '@avvos/convoy';
import type { AuthAdapter } from '../adapter.js';
import { type Claims, type JwtUser, present, standardUser, text, texts } from '../jwt/claims.js';
import { tokenAdapter } from '../jwt/jwt.js';
import { boundSettings } from '../jwt/settings.js';
import { CHECKED_LATER, checkOptions, type OptionRules } from '../options.js';
import { hostName, PRESET_OPTIONS, type PresetOptions } from './options.js';

/** The options of `auth0`. */
export interface Auth0Options<User extends AuthUser = Auth0User> extends PresetOptions<Auth0User, User> {
  /** The domain of the tenant, or its custom domain: `example.eu.auth0.com`. */
  readonly domain: string;
  /** The identifier of the API: `https://api.example.com`. Not a client id, which ID tokens have as audience. */
  readonly audience: string | readonly string[];
  /** The prefix of claims that your Action adds: with `https://example.com/`, roles are `https://example.com/roles`. */
  readonly namespace?: string;
}

/** The user of an access token. */
export interface Auth0User extends JwtUser {
  /** The name of the organization, if the tenant adds it. */
  readonly organizationName?: string;
}

const OPTIONS: OptionRules<Auth0Options> = {
  domain: CHECKED_LATER,
  audience: CHECKED_LATER,
  // Empty where the claims have no prefix.
  namespace: { must: 'a text, as in `https://example.com/`', holds: (value) => typeof value === 'string' },
  ...PRESET_OPTIONS,
};

/**
 * Accepts access tokens of Auth0. `organization` is `org_id`, `permissions` those of role-based access control. `roles`,
 * `email` and `name` come from an Action, under `namespace`.
 *
 * @example
 * const auth = auth0({ domain: 'example.eu.auth0.com', audience: 'https://api.example.com' });
 */
export function auth0<User extends AuthUser = Auth0User>(options: Auth0Options<User>): AuthAdapter<User> {
  checkOptions('auth0({ … })', options, OPTIONS);
  const issuer = `https://${hostName(options.domain, 'domain', 'example.eu.auth0.com')}/`;
  const { namespace } = options;
  const settings = boundSettings({
    ...options,
    issuer,
    jwks: options.jwks ?? `${issuer}.well-known/jwks.json`,
    algorithms: ['RS256', 'PS256'],
  });
  return tokenAdapter(settings, (claims) => auth0User(claims, namespace), options.user);
}

function auth0User(claims: Claims, namespace: string | undefined): Auth0User {
  const added = (name: string) => (namespace === undefined ? undefined : claims[`${namespace}${name}`]);
  const standard = standardUser(claims);
  return present({
    ...standard,
    email: text(added('email')) ?? standard.email,
    name: text(added('name')) ?? standard.name,
    roles: texts(added('roles')) ?? standard.roles,
    organizationName: text(claims.org_name),
  });
}
