/** `workos`: access tokens of WorkOS AuthKit. */

import type { AuthUser } from '@avvos/convoy';
import type { AuthAdapter } from '../adapter.js';
import { type Claims, type JwtUser, present, record, standardUser, text, texts } from '../jwt/claims.js';
import { tokenAdapter } from '../jwt/jwt.js';
import { settingsOf } from '../jwt/settings.js';
import { CHECKED_LATER, checkOptions, type OptionRules, shown } from '../options.js';
import { PRESET_OPTIONS, type PresetOptions } from './options.js';

/** The options of `workos`. */
export interface WorkosOptions<User extends AuthUser = WorkosUser> extends PresetOptions<WorkosUser, User> {
  /** The client id of the environment: `client_…`. */
  readonly clientId: string;
  /** The issuers, if you use a custom authentication domain. Default: WorkOS, with and without the client id. */
  readonly issuer?: string | readonly string[];
}

/** The user of an access token. AuthKit's tokens have an email address or a name only if a JWT template adds these. */
export interface WorkosUser extends JwtUser {
  /** The session: `session_…`. */
  readonly sessionId?: string;
  /** The entitlements of the organization. */
  readonly entitlements?: readonly string[];
  /** The user who impersonates this one. */
  readonly impersonator?: string;
}

const OPTIONS: OptionRules<WorkosOptions> = {
  clientId: CHECKED_LATER,
  issuer: CHECKED_LATER,
  ...PRESET_OPTIONS,
};

/**
 * Accepts access tokens of WorkOS AuthKit. They have no audience: the keys are those of your client id alone.
 * `organization` is `org_id`; `roles` are the roles in it.
 *
 * @example
 * const auth = workos({ clientId: 'client_01H…' });
 */
export function workos<User extends AuthUser = WorkosUser>(options: WorkosOptions<User>): AuthAdapter<User> {
  checkOptions('workos({ … })', options, OPTIONS);
  const { clientId, validate = () => true } = options;
  if (typeof clientId !== 'string' || !/^client_\w+$/.test(clientId)) {
    throw new TypeError(
      `\`clientId\` must be a client id of WorkOS, as in \`client_01H…\`; ${shown(clientId)} was given.`,
    );
  }
  const api = 'https://api.workos.com';
  const settings = settingsOf({
    ...options,
    issuer: options.issuer ?? [`${api}/user_management/${clientId}`, api, `${api}/`],
    jwks: options.jwks ?? `${api}/sso/jwks/${clientId}`,
    algorithms: ['RS256'],
    // Tokens name their client, if at all, in one of these.
    validate: (claims) => isFor(clientId, claims.client_id) && isFor(clientId, claims.aud) && validate(claims),
  });
  return tokenAdapter(settings, workosUser, options.user);
}

function isFor(clientId: string, claim: unknown): boolean {
  return claim === undefined || claim === clientId || (Array.isArray(claim) && claim.includes(clientId));
}

function workosUser(claims: Claims): WorkosUser {
  const standard = standardUser(claims);
  const role = text(claims.role);
  return present({
    ...standard,
    roles: standard.roles ?? (role === undefined ? undefined : [role]),
    sessionId: text(claims.sid),
    entitlements: texts(claims.entitlements),
    impersonator: text(record(claims.act).sub),
  });
}
