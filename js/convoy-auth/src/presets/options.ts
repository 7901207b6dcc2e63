/** The options that all presets have. */

import type { AuthUser } from '@avvos/convoy';
import type { JSONWebKeySet } from 'jose';
import type { Claims } from '../jwt/claims.js';
import type { TokenOptions } from '../jwt/settings.js';

/** What a preset lets programs change. */
export interface PresetOptions<Standard extends AuthUser, User extends AuthUser> extends TokenOptions {
  /** The user of a token. `standard` is the user by default. Runs for every call, so it must be quick. */
  readonly user?: (claims: Claims, standard: Standard) => User;
  /** Public keys in place of those that the provider publishes: for tests, and for servers without Internet access. */
  readonly jwks?: string | URL | JSONWebKeySet;
}

/** A host name, as in `example.auth0.com`: users often paste a URL. */
export function hostName(value: string, name: string): string {
  const host = /^(?:https:\/\/)?([\w.-]+(?::\d+)?)\/?$/.exec(value)?.[1];
  if (host === undefined) throw new TypeError(`\`${name}\` must be a host name; ${JSON.stringify(value)} was given.`);
  return host;
}
