/** `supabase`: access tokens of Supabase Auth. */

import type { AuthUser } from '@avvos/convoy';
import type { AuthAdapter } from '../adapter.js';
import { type Claims, flag, type JwtUser, present, record, text, texts } from '../jwt/claims.js';
import { tokenAdapter } from '../jwt/jwt.js';
import { boundSettings, SECRET } from '../jwt/settings.js';
import { checkOptions, type OptionRules, required, textLike } from '../options.js';
import { PRESET_OPTIONS, type PresetOptions, providerUrl } from './options.js';

/** The options of `supabase`. */
export interface SupabaseOptions<User extends AuthUser = SupabaseUser> extends PresetOptions<SupabaseUser, User> {
  /** The URL of the project: `https://abcdefgh.supabase.co`. */
  readonly url: string;
  /** The JWT secret of a project that has no signing keys yet (HS256). Without it, the project's keys are fetched. */
  readonly secret?: string;
}

/** The user of an access token. */
export interface SupabaseUser extends JwtUser {
  /** The telephone number. */
  readonly phone?: string;
  /** True for a user who has signed in anonymously. */
  readonly isAnonymous?: boolean;
  /** The session. */
  readonly sessionId?: string;
  /** `aal2` after a second factor, otherwise `aal1`. */
  readonly assuranceLevel?: string;
}

const OPTIONS: OptionRules<SupabaseOptions> = {
  url: required(textLike('https://abcdefgh.supabase.co')),
  secret: SECRET,
  ...PRESET_OPTIONS,
};

/**
 * Accepts access tokens of signed-in users of Supabase; not the project's own keys (`anon`, `service_role`). `roles`,
 * `permissions` and `organization` are those of `app_metadata`: users can edit their `user_metadata`, from which only the
 * name and the picture are taken.
 *
 * @example
 * const auth = supabase({ url: 'https://abcdefgh.supabase.co' });
 */
export function supabase<User extends AuthUser = SupabaseUser>(options: SupabaseOptions<User>): AuthAdapter<User> {
  checkOptions('supabase({ … })', options, OPTIONS);
  const { url, secret, jwks, allowHttp = false, validate = () => true } = options;
  const isFetched = secret === undefined && jwks === undefined;
  const issuer = `${providerUrl(url, 'url', allowHttp || !isFetched)}/auth/v1`;
  const settings = boundSettings({
    ...options,
    issuer,
    audience: 'authenticated',
    ...(secret === undefined ? { jwks: jwks ?? `${issuer}/.well-known/jwks.json` } : {}),
    validate: (claims) => claims.role === 'authenticated' && validate(claims),
  });
  return tokenAdapter(settings, supabaseUser, options.user);
}

function supabaseUser(claims: Claims): SupabaseUser {
  const { roles, role, permissions, organization, org_id: orgId } = record(claims.app_metadata);
  const shown = record(claims.user_metadata);
  const one = text(role);
  return present({
    id: claims.sub,
    email: text(claims.email),
    phone: text(claims.phone),
    name: text(shown.full_name) ?? text(shown.name),
    picture: text(shown.avatar_url) ?? text(shown.picture),
    organization: text(organization) ?? text(orgId),
    roles: texts(roles) ?? (one === undefined ? undefined : [one]),
    permissions: texts(permissions),
    isAnonymous: flag(claims.is_anonymous),
    sessionId: text(claims.session_id),
    assuranceLevel: text(claims.aal),
  });
}
