/** `oidc`: access tokens of Keycloak, and of other servers that follow OpenID Connect. */

import type { AuthUser } from '@avvos/convoy';
import type { AuthAdapter } from '../adapter.js';
import { type Claims, type JwtUser, present, record, standardUser, text, texts } from '../jwt/claims.js';
import { tokenAdapter } from '../jwt/jwt.js';
import { boundSettings } from '../jwt/settings.js';
import { CHECKED_LATER, checkOptions, type OptionRules, required, textLike } from '../options.js';
import { PRESET_OPTIONS, type PresetOptions } from './options.js';

/** The options of `oidc`. */
export interface OidcOptions<User extends AuthUser = OidcUser> extends PresetOptions<OidcUser, User> {
  /** The issuer: `https://login.example.com/realms/example`. Its discovery document must name exactly this text. */
  readonly issuer: string;
  /** Accepted values of `aud`. Keycloak adds an API to it by an audience mapper. This or `authorizedParties` is mandatory. */
  readonly audience?: string | readonly string[];
  /** Accepted clients, the claim `azp`: `['web']`. */
  readonly authorizedParties?: readonly string[];
  /** The client whose roles (`resource_access`) count beside those of the realm. */
  readonly client?: string;
}

/** The user of an access token. */
export interface OidcUser extends JwtUser {
  /** The claim `preferred_username`, which the user may be able to change. */
  readonly username?: string;
  /** The claim `groups`. */
  readonly groups?: readonly string[];
}

const OPTIONS: OptionRules<OidcOptions> = {
  issuer: required(textLike('https://login.example.com')),
  audience: CHECKED_LATER,
  authorizedParties: CHECKED_LATER,
  client: textLike('api'),
  ...PRESET_OPTIONS,
};

/**
 * Accepts access tokens of an OpenID Connect server, whose keys are found by discovery. `roles` are those of the realm and
 * of `client` (Keycloak), or the claim `roles`; `organization` is `org_id`, or the only organization in Keycloak's
 * `organization`.
 *
 * @example
 * const auth = oidc({ issuer: 'https://login.example.com/realms/example', authorizedParties: ['web'] });
 */
export function oidc<User extends AuthUser = OidcUser>(options: OidcOptions<User>): AuthAdapter<User> {
  checkOptions('oidc({ … })', options, OPTIONS);
  const { client } = options;
  return tokenAdapter(boundSettings(options), (claims) => oidcUser(claims, client), options.user);
}

function oidcUser(claims: Claims, client: string | undefined): OidcUser {
  const standard = standardUser(claims);
  const ofRealm = texts(record(claims.realm_access).roles);
  const ofClient = client === undefined ? undefined : texts(record(record(claims.resource_access)[client]).roles);
  const isKeycloak = ofRealm !== undefined || ofClient !== undefined;
  return present({
    ...standard,
    organization: standard.organization ?? onlyOrganization(claims.organization),
    roles: isKeycloak ? [...new Set([...(ofRealm ?? []), ...(ofClient ?? [])])] : standard.roles,
    username: text(claims.preferred_username),
    groups: texts(claims.groups),
  });
}

/**
 * The organization of a user who is in one: Keycloak lists aliases, `["acme"]`, or objects by alias, `{ "acme": { "id": "…"
 * } }`. Of several, none is the active one.
 */
function onlyOrganization(claim: unknown): string | undefined {
  const aliases = texts(claim) ?? Object.keys(record(claim));
  const [alias] = aliases;
  if (alias === undefined || aliases.length > 1) return undefined;
  return text(record(record(claim)[alias]).id) ?? alias;
}
