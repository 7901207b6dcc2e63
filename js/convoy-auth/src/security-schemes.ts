/**
 * What adapters accept, as security schemes of OpenAPI: what several adapters state together, and the schemes that more
 * than one adapter has.
 *
 * In a document, schemes are alternatives. So two that a client uses in the same way are one scheme, whose description is
 * that of both.
 */

import type { ApiKeyScheme, HttpScheme, SecurityScheme, SecuritySchemes } from '@avvos/convoy';
import { kindOf, shown } from './options.js';

/** A JWT in the header `Authorization`; `of` says which. */
export function jwtScheme(of: string): HttpScheme {
  return { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: `${of}.` };
}

/** The cookie of a session, which `library` sets. */
export function sessionScheme(name: string, library: string): ApiKeyScheme {
  return {
    type: 'apiKey',
    in: 'cookie',
    name,
    description:
      `The session of ${library}, whose routes set this cookie; browsers send it by themselves. Pages of other origins ` +
      'are refused, unless the server lists their origin with credentials. A POST with an `Origin` header needs ' +
      '`Content-Type: application/json`.',
  };
}

/**
 * The schemes of several adapters, for an adapter that is made for each call and for `compose`. A scheme under the name of
 * another one has a number behind its name: `apiKey2`.
 *
 * @example
 * export const securitySchemes = mergeSecuritySchemes(keys.securitySchemes, betterAuthSecuritySchemes(authOptions));
 */
export function mergeSecuritySchemes(...all: readonly SecuritySchemes[]): SecuritySchemes {
  for (const schemes of all) checkSchemes(schemes);
  const merged = new Map<string, SecurityScheme>();
  for (const [name, scheme] of all.flatMap((schemes) => Object.entries(schemes))) {
    const key = keyIn(merged, name, scheme);
    const known = merged.get(key);
    merged.set(key, known === undefined ? scheme : together(known, scheme));
  }
  return Object.fromEntries(merged);
}

/** Throws a `TypeError` for what is no object of security schemes. */
export function checkSchemes(schemes: SecuritySchemes): void {
  if (typeof schemes !== 'object' || schemes === null || Array.isArray(schemes)) {
    throw new TypeError(
      `Security schemes are an object, as in \`{ bearer: { type: 'http', scheme: 'bearer' } }\`; ${kindOf(schemes)} was given.`,
    );
  }
  for (const [name, scheme] of Object.entries<SecurityScheme | null>(schemes)) {
    if (typeof scheme?.type === 'string') continue;
    throw new TypeError(
      `The security scheme \`${name}\` must be an object with the text \`type\`; ${shown(scheme)} was given.`,
    );
  }
}

/** The name of the scheme that is used in the same way, or the first name that is free. */
function keyIn(merged: ReadonlyMap<string, SecurityScheme>, name: string, scheme: SecurityScheme): string {
  for (let number = 1; ; number++) {
    const key = number === 1 ? name : `${name}${number}`;
    const known = merged.get(key);
    if (known === undefined || usage(known) === usage(scheme)) return key;
  }
}

/** What a client does with a scheme: all but what only readers use. */
function usage(scheme: SecurityScheme): string {
  const { description: _, bearerFormat: _format, ...used } = scheme as HttpScheme;
  return JSON.stringify(Object.entries(used).sort(([one], [other]) => (one < other ? -1 : 1)));
}

function together(one: SecurityScheme, other: SecurityScheme): SecurityScheme {
  const { description, bearerFormat, ...used } = one as HttpScheme;
  const added = other as HttpScheme;
  const descriptions = new Set([description, added.description].filter((each) => each !== undefined));
  return {
    ...used,
    // Of tokens of two formats, none is the format.
    ...(bearerFormat !== undefined && bearerFormat === added.bearerFormat ? { bearerFormat } : {}),
    ...(descriptions.size === 0 ? {} : { description: [...descriptions].join(' ') }),
  };
}
