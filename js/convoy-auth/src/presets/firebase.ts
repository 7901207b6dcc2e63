/** `firebase`: ID tokens of Firebase Authentication and Identity Platform. */

import type { AuthUser } from '@avvos/convoy';
import type { AuthAdapter } from '../adapter.js';
import { type Claims, type JwtUser, present, profile, record, text, texts } from '../jwt/claims.js';
import { tokenAdapter } from '../jwt/jwt.js';
import { boundSettings } from '../jwt/settings.js';
import { CHECKED_LATER, checkOptions, type OptionRules, shown, textLike } from '../options.js';
import { PRESET_OPTIONS, type PresetOptions } from './options.js';

/** The options of `firebase`. */
export interface FirebaseOptions<User extends AuthUser = FirebaseUser> extends PresetOptions<FirebaseUser, User> {
  /** The id of the project, not its name. */
  readonly projectId: string;
  /** The only tenant whose users are accepted. Default: all tenants, and users without one. */
  readonly tenant?: string;
}

/** The user of an ID token. */
export interface FirebaseUser extends JwtUser {
  /** The telephone number. */
  readonly phone?: string;
  /** How the user has signed in: `password`, `google.com`, `anonymous`. */
  readonly signInProvider?: string;
  /** True for a user who has signed in anonymously. */
  readonly isAnonymous: boolean;
}

const OPTIONS: OptionRules<FirebaseOptions> = {
  projectId: CHECKED_LATER,
  tenant: textLike('tenant-1'),
  ...PRESET_OPTIONS,
};

const KEYS = 'https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com';

/**
 * Accepts ID tokens of Firebase. `organization` is the tenant; `roles` and `permissions` are custom claims of these names,
 * or the one custom claim `role`.
 *
 * @example
 * const auth = firebase({ projectId: 'example-project' });
 */
export function firebase<User extends AuthUser = FirebaseUser>(options: FirebaseOptions<User>): AuthAdapter<User> {
  checkOptions('firebase({ … })', options, OPTIONS);
  const { projectId, tenant, validate = () => true, clockTolerance = 5 } = options;
  if (typeof projectId !== 'string' || !/^[a-z][a-z0-9-]*$/.test(projectId)) {
    throw new TypeError(`\`projectId\` must be the id of a Firebase project; ${shown(projectId)} was given.`);
  }
  const settings = boundSettings({
    ...options,
    issuer: `https://securetoken.google.com/${projectId}`,
    audience: projectId,
    jwks: options.jwks ?? KEYS,
    algorithms: ['RS256'],
    requiredClaims: ['auth_time', 'iat', ...(options.requiredClaims ?? [])],
    validate: (claims) =>
      Number(claims.auth_time) <= Date.now() / 1000 + clockTolerance &&
      (tenant === undefined || record(claims.firebase).tenant === tenant) &&
      validate(claims),
  });
  return tokenAdapter(settings, firebaseUser, options.user);
}

function firebaseUser(claims: Claims): FirebaseUser {
  const { tenant, sign_in_provider: provider } = record(claims.firebase);
  const role = text(claims.role);
  return present({
    id: claims.sub,
    ...profile(claims),
    phone: text(claims.phone_number),
    organization: text(tenant),
    roles: texts(claims.roles) ?? (role === undefined ? undefined : [role]),
    permissions: texts(claims.permissions),
    signInProvider: text(provider),
    isAnonymous: provider === 'anonymous',
  });
}
