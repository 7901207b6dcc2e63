/** From the claims of a verified token to a user. Claims of an unexpected type are left out, never converted. */

import type { AuthUser } from '@avvos/convoy';

/** The claims of a verified token. */
export interface Claims {
  /** The issuer, one that the adapter accepts. */
  readonly iss: string;
  /** The subject: the id of the user at the issuer. */
  readonly sub: string;
  /** When the token expires, in seconds since 1970. */
  readonly exp: number;
  /** Any other claim; its type has not been checked. */
  readonly [claim: string]: unknown;
}

/** The user of a token, from the standard claims of OpenID Connect. */
export interface JwtUser extends AuthUser {
  /** The claim `email`. An address is only proven if `emailVerified` is true. */
  readonly email?: string;
  /** The claim `email_verified`. */
  readonly emailVerified?: boolean;
  /** The claim `name`. */
  readonly name?: string;
  /** The claim `picture`: the URL of an image. */
  readonly picture?: string;
  /** The claim `permissions`. */
  readonly permissions?: readonly string[];
}

/** The user of the claims `sub`, `email`, `email_verified`, `name`, `picture`, `org_id`, `roles` and `permissions`. */
export function standardUser(claims: Claims): JwtUser {
  return present({
    id: claims.sub,
    ...profile(claims),
    organization: text(claims.org_id),
    roles: texts(claims.roles),
    permissions: texts(claims.permissions),
  });
}

/** The members of a user that all providers call the same. */
export function profile(claims: Claims) {
  return {
    email: text(claims.email),
    emailVerified: flag(claims.email_verified),
    name: text(claims.name),
    picture: text(claims.picture),
  };
}

/** A claim that is a text, and not empty. */
export function text(claim: unknown): string | undefined {
  return typeof claim === 'string' && claim !== '' ? claim : undefined;
}

/** A claim that is a list of texts. */
export function texts(claim: unknown): readonly string[] | undefined {
  return Array.isArray(claim) && claim.every((each) => typeof each === 'string') ? claim : undefined;
}

/** A claim that is true or false. */
export function flag(claim: unknown): boolean | undefined {
  return typeof claim === 'boolean' ? claim : undefined;
}

/** A claim that is an object; an empty object otherwise. */
export function record(claim: unknown): Readonly<Record<string, unknown>> {
  return typeof claim === 'object' && claim !== null && !Array.isArray(claim) ? (claim as Record<string, unknown>) : {};
}

/** `fields` without those that are undefined. */
export function present<Fields extends object>(fields: Fields): Present<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<Fields>;
}

type Present<Fields> = {
  [Key in keyof Fields as undefined extends Fields[Key] ? never : Key]: Fields[Key];
} & { [Key in keyof Fields as undefined extends Fields[Key] ? Key : never]?: Exclude<Fields[Key], undefined> };
