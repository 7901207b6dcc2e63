/** Checks the option `openapi`. */

import { describeGiven, isPlainObject } from '../../values/kind.js';
import { membersProblem } from '../../values/options.js';
import type { OpenApiOptions } from '../options.js';

const NAMES: readonly string[] = ['title', 'version', 'servers'] satisfies (keyof OpenApiOptions)[];

/** What is wrong with the option `openapi`, for its developer; `null` if nothing is, or if it is not given. */
export function openApiProblem(value: unknown): string | null {
  if (value === undefined || typeof value === 'boolean') return null;
  if (!isPlainObject(value)) {
    return `\`openapi\` is true, false, or { title, version, servers }; ${describeGiven(value)} was given.`;
  }
  const members = membersProblem('`openapi`', value, NAMES);
  if (members !== null) return members;
  const { title, version, servers } = value as { readonly [Name in keyof OpenApiOptions]?: unknown };
  for (const [name, text] of Object.entries({ title, version })) {
    if (text === undefined || (typeof text === 'string' && text !== '')) continue;
    return `\`openapi.${name}\` is a text that is not empty; ${describeGiven(text)} was given.`;
  }
  if (servers === undefined) return null;
  if (!Array.isArray(servers)) {
    return `\`openapi.servers\` is a list of URLs, such as ['https://api.example.com']; ${describeGiven(servers)} was given.`;
  }
  const wrong = servers.findIndex((url) => typeof url !== 'string' || url === '');
  if (wrong < 0) return null;
  return `\`openapi.servers[${wrong}]\` is a URL, such as 'https://api.example.com'; ${describeGiven(servers[wrong])} was given.`;
}
