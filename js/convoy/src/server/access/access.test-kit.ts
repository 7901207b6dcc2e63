/** A table with access rules, on a scripted engine, for tests. */

import * as z from 'zod';
import { hostOf, type Response, type Script, uuid } from '../../../testing/scripted-engine.js';
import { type AnyAccessRules, defineSchema, defineTable } from '../../schema/index.js';
import type { Operation } from '../call.js';
import type { BaseContext } from '../contexts.js';
import { mutation, query } from '../functions.js';
import type { ProgramSource } from '../program.js';

export const ID = `notes:${uuid(0xa)}`;
export const STORED = { id: ID, _creationTime: 5, owner: 'ada', meta: { owner: 'ada' }, n: 1 };
export const FORBIDDEN = {
  code: 'FORBIDDEN',
  message: 'The access rules of notes do not allow this write.',
  details: { table: 'notes' },
  status: 403,
};
/** The request of a client. */
export const REQUEST = JSON.stringify({ method: 'POST', url: '/api', headers: { authorization: 'ada' } });

export interface Context extends BaseContext {
  readonly user: string;
}
export type Handler = (ctx: Context, args: never) => unknown;

const newNotes = () =>
  defineTable({
    owner: z.string(),
    meta: z.object({ owner: z.string() }).optional(),
    n: z.number().default(0),
    extra: z.unknown().optional(),
  });
export const schemaOf = (rules: AnyAccessRules | null) =>
  defineSchema({
    notes: rules === null ? newNotes() : newNotes().access(rules as never),
    members: defineTable({ user: z.string() }),
  });

export const stored: Script = (op) => {
  if (op.op === 'get')
    return { ok: op.table === 'notes' ? structuredClone(STORED) : { id: `members:${op.id}`, user: 'ada' } };
  if (op.op === 'scan') return { ok: [] };
  if (op.op === 'patch') return { ok: { ...STORED, ...op.set } };
  return { ok: op.op === 'delete' ? true : null };
};

interface Settings extends Partial<ProgramSource> {
  readonly kind?: 'query' | 'mutation';
  readonly script?: Script;
  /** `null` is a trusted call. */
  readonly request?: string | null;
  readonly holds?: boolean;
}

/** Runs a handler over a table with these rules, as a client. */
export async function run(
  rules: AnyAccessRules | null,
  handler: Handler,
  settings: Settings = {},
): Promise<Response & { readonly ops: Operation[] }> {
  const { kind = 'mutation', script = stored, request = REQUEST, holds = false, ...source } = settings;
  const define = kind === 'query' ? query : mutation;
  const createContext = (req: { headers: object }, base: object) => ({
    ...base,
    user: (req.headers as { authorization?: string }).authorization,
  });
  const fn = define({ handler: handler as never });
  const host = hostOf(
    { schema: schemaOf(rules), createContext, ...source, functions: { ...source.functions, fn } },
    script,
  );
  if (holds) host.program.holdsWrites = new Set(['notes']);
  const response = await host.call('fn', {}, request);
  return { ...response, ops: host.engine.ops };
}
