/**
 * Reads credentials from the headers of a request, within limits, before any part of them is parsed. A header that is
 * given several times, is too long or has a wrong form is refused, never skipped.
 */

import type { ConvoyRequest } from '@avvos/convoy';
import { unauthorized } from './refusals.js';

/** The longest token. Servers limit all headers of a request to 16 KiB or less. */
export const MAX_TOKEN_CHARS = 16 * 1024;

/** The characters of a token in an Authorization header, by RFC 6750. */
const TOKEN = /^[\w.~+/-]+=*$/;

/** The token of `Authorization: Bearer …`; `null` without the header, or with another scheme. */
export function bearerToken(req: ConvoyRequest): string | null {
  const value = headerValue(req, 'authorization')?.trim() ?? '';
  // With any separator: a mistake there must not make a caller who is not signed in.
  if (!/^bearer\b/i.test(value)) return null;
  return checkedToken(value.slice('bearer'.length).trim(), 'The bearer token');
}

/** The token in a header of its own; `null` without the header. */
export function headerToken(req: ConvoyRequest, name: string): string | null {
  const value = headerValue(req, name);
  return value === null ? null : checkedToken(value.trim(), `The ${name} header`);
}

/** Whether a request has credentials in a header; of `authorization`, only bearer tokens count. */
export function hasCredentials(req: ConvoyRequest, header: string): boolean {
  return (header === 'authorization' ? bearerToken(req) : headerValue(req, header)) !== null;
}

/** The cookies of a request, as one header; `null` if there are none. */
export function cookieHeader(req: ConvoyRequest): string | null {
  const value = req.headers.cookie;
  // Several headers are one list: HTTP/2 allows clients to split it.
  const text = Array.isArray(value) ? value.join('; ') : value;
  return text === undefined || text === '' ? null : text;
}

function headerValue(req: ConvoyRequest, name: string): string | null {
  const value = req.headers[name];
  if (!Array.isArray(value)) return value ?? null;
  if (value.length > 1) throw unauthorized(`The request has several ${name} headers. Send one.`);
  return value[0] ?? null;
}

function checkedToken(token: string, subject: string): string {
  if (token.length > MAX_TOKEN_CHARS) throw unauthorized(`${subject} is longer than ${MAX_TOKEN_CHARS} characters.`);
  if (!TOKEN.test(token)) throw unauthorized(`${subject} is not a single token.`);
  return token;
}
