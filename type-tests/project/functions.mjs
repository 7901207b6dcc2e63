/**
 * The functions of the generated project: 500 in 100 files. 60 files have the functions of one table each, 40 combine
 * several tables and call functions of other files.
 */
import { TABLES } from './tables.mjs';

const FEATURES = 40;

const IMPORTS = `import { defineRef, paginationOpts } from '@avvos/convoy';
import { z } from 'zod';
`;

/** The files: name → text. */
export function functionFiles() {
  return new Map([
    ...TABLES.map((table) => [table.name, tableFile(table)]),
    ...features().map((one) => [one.name, one.text]),
  ]);
}

/** What the code generator needs of them. */
export function functionList() {
  const of = (module, kinds) =>
    Object.entries(kinds).map(([exportName, kind]) => ({
      name: `${module}.${exportName}`,
      kind: kind.replace(/^internal/, '').toLowerCase(),
      internal: kind.startsWith('internal'),
      module: `../functions/${module}.js`,
      exportName,
    }));
  const tables = TABLES.flatMap(({ name }) =>
    of(name, { list: 'query', page: 'query', get: 'query', create: 'mutation', update: 'mutation' }),
  );
  const combined = features().flatMap(({ name }) =>
    of(name, { overview: 'query', search: 'query', archive: 'mutation', publish: 'action', counts: 'internalQuery' }),
  );
  return [...tables, ...combined];
}

function tableFile({ name, owner, parent, isUnion, indexed, inputFields }) {
  return `${IMPORTS}import { mutation, query } from '../_generated/server';

const status = z.enum(['draft', 'active', 'archived']);

export const list = query({
  input: { ownerId: defineRef('${owner}'), status: status.optional(), limit: z.number().int().max(200).default(50) },
  handler: async (ctx, { ownerId, status, limit }) => {
    const rows = ctx.db.query('${name}').withIndex('by_owner', (q) => q.eq('ownerId', ownerId).gte('position', 0));
    return rows.filter((q) => (status === undefined ? q.and() : q.eq(q.field('status'), status))).order('desc').take(limit);
  },
});

export const page = query({
  input: { paginationOpts, status },
  handler: async (ctx, { paginationOpts, status }) => {
    const result = await ctx.db.query('${name}').withIndex('by_status', (q) => q.eq('status', status)).paginate(paginationOpts);
    return { ...result, page: result.page.map((row) => ({ ...row, isRecent: row._creationTime > ctx.now(60_000) - 1_000 })) };
  },
});

export const get = query({
  input: { id: defineRef('${name}') },
  handler: async (ctx, { id }) => {
    const row = await ctx.db.get(id);
    if (row === null) return { found: false as const };
    const [owner, parent] = await Promise.all([ctx.db.get(row.ownerId), row.parentId ? ctx.db.get(row.parentId) : null]);
    return { found: true as const, row, owner, parent, at: new Date(row._creationTime) };
  },
});

export const create = mutation({
  input: {
    ownerId: defineRef('${owner}'),
    parentId: defineRef('${parent}').optional(),
    title: z.string().min(1),
    ${inputFields.join(',\n    ')},
  },
  handler: async (ctx, input) => {
    const last = await ctx.db.query('${name}').withIndex('by_detail').order('desc', '${indexed}').first();
    return ctx.db.insert('${name}', { ...input, position: (last?.position ?? 0) + 1 });
  },
});

export const update = mutation({
  input: { id: defineRef('${name}'), title: z.string().optional(), status: status.optional(), tags: z.array(z.string()).optional() },
  handler: async (ctx, { id, ...changes }) => {
    const row = await ctx.db.patch(id, changes${isUnion ? ' as { title?: string }' : ''});
    await ctx.db.increment(id, 'position', 1);
    return row === null ? { ok: false as const, reason: 'gone' } : { ok: true as const, row };
  },
});
`;
}

function features() {
  return Array.from({ length: FEATURES }, (_, index) => {
    const [first, second, third] = [0, 17, 31].map((step) => TABLES[(index + step) % TABLES.length]);
    return { name: `feature${index + 1}`, text: featureFile(`feature${index + 1}`, first, second, third) };
  });
}

function featureFile(name, first, second, third) {
  return `${IMPORTS}import { api, internal } from '../_generated/api';
import type { Doc, Id } from '../_generated/dataModel';
import { action, internalQuery, mutation, query } from '../_generated/server';

interface Summary {
  readonly id: Id<'${first.name}'>;
  readonly title: string;
  readonly items: Doc<'${second.name}'>[];
}

export const overview = query({
  input: { ids: z.array(defineRef('${first.name}')).max(20) },
  handler: async (ctx, { ids }): Promise<{ summaries: Summary[]; latest: Doc<'${third.name}'> | null }> => {
    const found = await ctx.db.getMany(ids);
    const items = await ctx.db.query('${second.name}').withIndex('by_status', (q) => q.eq('status', 'active')).take(100);
    const summaries = found.flatMap((row) => (row === null ? [] : [{ id: row.id, title: row.title, items }]));
    return { summaries, latest: await ctx.db.query('${third.name}').order('desc').first() };
  },
});

export const search = query({
  input: { text: z.string(), kinds: z.array(z.enum(['${first.name}', '${second.name}'])).optional() },
  handler: async (ctx, { text, kinds }) => {
    const [left, right] = await Promise.all([
      ctx.db.query('${first.name}').filter((q) => q.or(q.eq(q.field('title'), text), q.gt(q.field('position'), 10))).take(20),
      ctx.db.query('${second.name}').filter((q) => q.and(q.eq(q.field('title'), text), q.not(q.eq(q.field('status'), 'archived')))).take(20),
    ]);
    const all = [...left.map((row) => ({ kind: '${first.name}' as const, row })), ...right.map((row) => ({ kind: '${second.name}' as const, row }))];
    return all.filter(({ kind }) => kinds === undefined || kinds.includes(kind));
  },
});

export const archive = mutation({
  input: { ids: z.array(defineRef('${third.name}')), reason: z.union([z.string(), z.object({ code: z.number() })]) },
  handler: async (ctx, { ids, reason }) => {
    const counts = await ctx.runQuery(internal.${name}.counts, { status: 'active' });
    for (const id of ids) await ctx.runMutation(api.${third.name}.update, { id, status: 'archived' });
    return { counts, reason: typeof reason === 'string' ? reason : reason.code, at: new Date() };
  },
});

export const publish = action({
  input: { id: defineRef('${first.name}') },
  handler: async (ctx, { id }) => {
    const result = await ctx.runQuery(api.${first.name}.get, { id });
    if (!result.found) return null;
    const response = await fetch('https://example.org', { method: 'POST', body: JSON.stringify(result.row.title) });
    return { status: response.status, title: result.row.title, at: result.at };
  },
});

export const counts = internalQuery({
  input: { status: z.enum(['draft', 'active', 'archived']) },
  returns: z.object({ first: z.number(), second: z.number(), by: z.record(z.string(), z.number()) }),
  handler: async (ctx, { status }) => {
    const first = await ctx.db.query('${first.name}').withIndex('by_status', (q) => q.eq('status', status)).count();
    const second = await ctx.db.query('${second.name}').withIndex('by_status', (q) => q.eq('status', status)).count();
    return { first, second, by: { [status]: first + second } };
  },
});
`;
}
