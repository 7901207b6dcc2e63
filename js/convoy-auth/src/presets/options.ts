/** The options that all presets have. */

import type { AuthUser } from '@avvos/convoy';
import type { JSONWebKeySet } from 'jose';
import type { Claims } from '../jwt/claims.js';
import { fetchableUrl } from '../jwt/fetch-json.js';
import { KEYS, TOKEN_OPTIONS, type TokenOptions } from '../jwt/settings.js';
import { FUNCTION, type OptionRules, shown } from '../options.js';

/** What a preset lets programs change. */
export interface PresetOptions<Standard extends AuthUser, User extends AuthUser> extends TokenOptions {
  /** The user of a token. `standard` is the user by default. Runs for every call, so it must be quick. */
  readonly user?: (claims: Claims, standard: Standard) => User;
  /** Public keys in place of those that the provider publishes: for tests, and for servers without Internet access. */
  readonly jwks?: string | URL | JSONWebKeySet;
}

/** What the options of all presets must be. */
export const PRESET_OPTIONS: OptionRules<PresetOptions<AuthUser, AuthUser>> = {
  user: FUNCTION,
  jwks: KEYS,
  ...TOKEN_OPTIONS,
};

/** The address of a provider, without a slash at its end. If its keys are from elsewhere, `allowHttp` may be true. */
export function providerUrl(value: string, name: string, allowHttp: boolean): string {
  fetchableUrl(value, `\`${name}\``, allowHttp);
  return value.replace(/\/$/, '');
}

/** A host name, as in `example.auth0.com`: users often paste a URL. */
export function hostName(value: unknown, name: string, example: string): string {
  const text = typeof value === 'string' ? value : '';
  const host = /^(?:https:\/\/)?([\w.-]+(?::\d+)?)\/?$/.exec(text)?.[1];
  if (host !== undefined) return host;
  throw new TypeError(`\`${name}\` must be a host name, as in \`${example}\`; ${shown(value)} was given.`);
}
