/** `clerk`: session tokens of Clerk, of version 1 and 2, and those of its JWT templates. */

import type { AuthUser } from '@avvos/convoy';
import type { AuthAdapter } from '../adapter.js';
import { type Claims, type JwtUser, present, profile, record, text, texts } from '../jwt/claims.js';
import { tokenAdapter } from '../jwt/jwt.js';
import { boundSettings } from '../jwt/settings.js';
import { CHECKED_LATER, checkOptions, type OptionRules, textLike } from '../options.js';
import { hostName, PRESET_OPTIONS, type PresetOptions, providerUrl } from './options.js';

/** The options of `clerk`. */
export interface ClerkOptions<User extends AuthUser = ClerkUser> extends PresetOptions<ClerkUser, User> {
  /** The publishable key of the instance, which contains its address: `pk_live_…`. This or `issuer` is mandatory. */
  readonly publishableKey?: string;
  /** The Frontend API URL of the instance: `https://clerk.example.com`. */
  readonly issuer?: string;
  /** The origins of the pages that sign in (`azp`): `['https://example.com']`. This or `audience` is mandatory. */
  readonly authorizedParties?: readonly string[];
  /** The claim `aud` that a JWT template adds. Native apps have no origin, and need this. */
  readonly audience?: string | readonly string[];
}

/** The user of a session token. Clerk's tokens have an email address or a name only if you add these claims. */
export interface ClerkUser extends JwtUser {
  /** The session: `sess_…`. */
  readonly sessionId?: string;
  /** The slug of the active organization. */
  readonly organizationSlug?: string;
  /** The user who impersonates this one. */
  readonly impersonator?: string;
}

const OPTIONS: OptionRules<ClerkOptions> = {
  publishableKey: { must: 'a text, as in `pk_live_…`', holds: (value) => typeof value === 'string' },
  issuer: textLike('https://clerk.example.com'),
  authorizedParties: CHECKED_LATER,
  audience: CHECKED_LATER,
  ...PRESET_OPTIONS,
};

/**
 * Accepts session tokens of Clerk. `organization` is the active organization, `roles` the caller's role in it
 * (`org:admin`), `permissions` the permissions (`org:invoices:create`). A pending session counts as not signed in, as in
 * Clerk's own libraries.
 *
 * @example
 * const auth = clerk({ publishableKey: 'pk_live_…', authorizedParties: ['https://example.com'] });
 */
export function clerk<User extends AuthUser = ClerkUser>(options: ClerkOptions<User>): AuthAdapter<User> {
  checkOptions('clerk({ … })', options, OPTIONS);
  const { jwks, allowHttp = false, validate = () => true } = options;
  const given = options.issuer ?? `https://${frontendApi(options.publishableKey)}`;
  const issuer = providerUrl(given, 'issuer', allowHttp || jwks !== undefined);
  const settings = boundSettings({
    ...options,
    issuer,
    jwks: jwks ?? `${issuer}/.well-known/jwks.json`,
    algorithms: ['RS256'],
    validate: (claims) => claims.sts !== 'pending' && validate(claims),
  });
  return tokenAdapter(settings, clerkUser, options.user);
}

/** The host in a publishable key: after the prefix, base64 of the host and a `$`. */
function frontendApi(key: string | undefined): string {
  const [, encoded = ''] = /^pk_(?:live|test)_([\w+/=-]+)$/.exec(key ?? '') ?? [];
  const host = Buffer.from(encoded, 'base64').toString('utf8');
  if (!/^[\w.-]+\$$/.test(host)) {
    throw new TypeError('Set `publishableKey` (pk_live_… or pk_test_…) or `issuer`. Is an environment variable unset?');
  }
  return hostName(host.slice(0, -1), 'publishableKey', 'clerk.example.com');
}

function clerkUser(claims: Claims): ClerkUser {
  return present({
    id: claims.sub,
    ...profile(claims),
    ...(claims.v === 2 ? organizationOfVersion2(claims) : organizationOfVersion1(claims)),
    sessionId: text(claims.sid),
    impersonator: text(record(claims.act).sub),
  });
}

function organizationOfVersion1(claims: Claims) {
  const role = text(claims.org_role);
  return {
    organization: text(claims.org_id),
    organizationSlug: text(claims.org_slug),
    roles: role === undefined ? undefined : [role],
    permissions: texts(claims.org_permissions),
  };
}

function organizationOfVersion2(claims: Claims) {
  const { id, slg, rol, per, fpm } = record(claims.o);
  const role = text(rol);
  return {
    organization: text(id),
    organizationSlug: text(slg),
    roles: role === undefined ? undefined : [`org:${role}`],
    permissions: permissionsOf(text(claims.fea), text(per), text(fpm)),
  };
}

/**
 * The permissions of version 2. `fea` lists features with their scope (`o:invoices,u:profile`), `per` permissions
 * (`create,read`), and `fpm` a bit set for each feature of the organization: bit 0 is the first permission.
 */
function permissionsOf(fea = '', per?: string, fpm?: string): readonly string[] | undefined {
  if (per === undefined || fpm === undefined) return undefined;
  const features = fea
    .split(',')
    .map((each) => each.trim().split(':'))
    .filter(([scope = '']) => scope.includes('o'))
    .map(([, name = '']) => name);
  const names = per.split(',').map((each) => each.trim());
  const sets = fpm.split(',').map((each) => (/^\d+$/.test(each.trim()) ? BigInt(each.trim()) : 0n));
  return features.flatMap((feature, at) => {
    const bits = sets[at] ?? 0n;
    return names.filter((_, bit) => (bits >> BigInt(bit)) & 1n).map((name) => `org:${feature}:${name}`);
  });
}
