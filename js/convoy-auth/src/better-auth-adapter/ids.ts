/**
 * The ids of documents as Better Auth sees them. By default they are the same: `user:<uuid>`, so that `ctx.auth.user.id`
 * is an `Id<'user'>`. With `generateId: 'uuid'` Better Auth sees the bare uuid.
 *
 * Better Auth may also give an id of any form, for example the digest of a token that must be used once only. The uuid of
 * such a document is derived from the given id, which is stored beside it: Postgres then refuses a second document with
 * the same id, and no index is needed to find it.
 */

import { createHash } from 'node:crypto';
import { GIVEN_ID } from './layout.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The form of the ids that Better Auth sees. */
export type IdForm = 'document' | 'uuid';

/** An id of a document, and the id as it was given if it cannot be derived from that. */
export interface ParsedId {
  readonly id: string;
  readonly uuid: string;
  readonly given: string | null;
}

/** The id of the document of `table` that Better Auth calls `given`. */
export function parseId(table: string, given: string, form: IdForm): ParsedId {
  const prefix = `${table}:`;
  const own = given.startsWith(prefix) ? given.slice(prefix.length) : form === 'uuid' ? given.toLowerCase() : '';
  if (UUID.test(own)) return { id: `${prefix}${own}`, uuid: own, given: null };
  const uuid = derivedUuid(`${prefix}${given}`);
  return { id: `${prefix}${uuid}`, uuid, given };
}

/** The id that Better Auth sees. */
export function idSeen(document: { readonly id: string; readonly [GIVEN_ID]?: unknown }, form: IdForm): string {
  const given = document[GIVEN_ID];
  if (typeof given === 'string') return given;
  return form === 'uuid' ? document.id.slice(document.id.indexOf(':') + 1) : document.id;
}

/** A uuid of version 8, whose bits are free to define: here the first of a SHA-256. */
function derivedUuid(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
