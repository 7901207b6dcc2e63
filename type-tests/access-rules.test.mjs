/**
 * Projects whose access rules read tables that have rules themselves: the context of a rule is made of the tables that the
 * rule is a part of, and the compiler finds no circle in it. The same applies to the settings of row-level security, which
 * the module of the context exports.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateFiles } from '../js/convoy/src/codegen/index.ts';
import { COMPILERS, typeCheck } from './compilers.mjs';

const TABLES = ['notes', 'members'];

/** A schema with the tables as exports, or all in one `defineSchema({ … })`. */
const schemaFile = (exportsTables, rules) => {
  const table = (index) =>
    `defineTable({ owner: z.string(), team: z.string() }).index('${index}', ['${index}']).access(${rules})`;
  const tables = exportsTables
    ? `export const notes = ${table('owner')};\nexport const members = ${table('team')};\nexport default defineSchema({ notes, members });`
    : `export default defineSchema({ notes: ${table('owner')}, members: ${table('team')} });`;
  return `import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';
import type { AppContext } from './_generated/server.js';
${tables}
async function isMember(ctx: AppContext, team: string): Promise<boolean> {
  const found = await ctx.db.query('members').withIndex('team', (q) => q.eq('team', team)).first();
  return found !== null;
}
`;
};

const RULES = `{
  read: (ctx: AppContext, doc) => doc.owner === ctx.user?.id || isMember(ctx, doc.team),
  range: (ctx: AppContext, q) => q.eq(q.field('owner'), ctx.user?.id ?? ''),
  insert: (ctx: AppContext, doc) => doc.owner === ctx.user?.id,
  update: async (ctx: AppContext, before, after) => before.owner === after.owner && (await isMember(ctx, before.team)),
  delete: true,
}`;

/** Row-level security beside `createContext`, whose context its settings get. */
const RLS = `
import type { RowLevelSecurity } from '@avvos/convoy';
import type { AppContext } from './_generated/server.js';
export const rls: RowLevelSecurity<AppContext> = {
  role: 'app_user',
  settings: (ctx) => ({ 'app.user': ctx.user?.id }),
};`;

const SERVERS = {
  'whose type is inferred': `import type { ServerContext } from './_generated/server.js';
export const createContext = async (req: { headers: object }, base: ServerContext) => ({
  ...base,
  user: 'x' in req.headers ? { id: 'a' } : null,
});`,
  'that reads tables with rules, and whose type is declared': `import type { ServerContext } from './_generated/server.js';
export interface Context extends ServerContext { readonly user: { readonly id: string } | null }
export const createContext = async (_req: object, base: ServerContext): Promise<Context> => {
  const member = await base.db.query('members').first();
  return { ...base, user: member === null ? null : { id: member.owner } };
};`,
};

const CONFIGURATION = {
  compilerOptions: {
    target: 'ES2023',
    module: 'ESNext',
    moduleResolution: 'Bundler',
    lib: ['ES2023', 'DOM'],
    types: [],
    strict: true,
    verbatimModuleSyntax: true,
    isolatedModules: true,
    skipLibCheck: true,
    noEmit: true,
  },
  include: ['convoy'],
};

let parent;
beforeAll(async () => {
  parent = join(import.meta.dirname, '.convoy');
  await mkdir(parent, { recursive: true });
  parent = await mkdtemp(join(parent, 'access-'));
});
afterAll(() => rm(parent, { recursive: true }));

/** The errors of a project, without its folder. */
async function errorsOf(compiler, { exportsTables, rules = RULES, rls = RLS, server }) {
  const folder = await mkdtemp(join(parent, 'project-'));
  const generated = generateFiles({
    schema: { module: '../schema.js', exportName: 'default' },
    tables: TABLES.map((name) => ({ name, isUnion: false, exportName: exportsTables ? name : undefined })),
    functions: [],
    serverModule: '../server.js',
    hasContext: true,
    drizzleStandIn: false,
  });
  const files = new Map([...generated].map(([name, text]) => [`convoy/_generated/${name}`, text]));
  files.set('convoy/schema.ts', schemaFile(exportsTables, rules));
  files.set('convoy/server.ts', server + rls);
  files.set('tsconfig.json', JSON.stringify(CONFIGURATION));
  for (const [name, text] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  const { errors } = await typeCheck(compiler, folder, compiler.single);
  return errors.map((error) => error.replace(/^.*?convoy\/(?=schema|server|_generated)/, ''));
}

describe.each(COMPILERS)('$name', (compiler) => {
  describe.each(Object.entries(SERVERS))('with a createContext %s', (_, server) => {
    test.each([true, false])('finds no error; exported tables: %s', async (exportsTables) => {
      expect(await errorsOf(compiler, { exportsTables, server })).toEqual([]);
    });
  });

  test('finds mistakes in rules', async () => {
    const rules = `{
  read: (ctx: AppContext, doc) => doc.ownr === ctx.user?.id,
  range: (ctx: AppContext, q) => q.eq(q.field('onwer'), 'a'),
  insert: (ctx: AppContext, doc) => doc._creationTime > 0,
  update: (ctx: AppContext, before, after) => before.owner,
}`;
    const [server] = Object.values(SERVERS);
    const errors = await errorsOf(compiler, { exportsTables: true, rules, server });
    const all = errors.join('\n');
    for (const mistake of ["'ownr' does not exist", '"onwer"', "'_creationTime' does not exist"]) {
      expect(all).toContain(mistake);
    }
    expect(all).toMatch(/=> string' is not assignable to type 'true | /);
  });

  test('finds mistakes in the settings of row-level security', async () => {
    for (const [name, server] of Object.entries(SERVERS)) {
      const errors = async (settings) =>
        (await errorsOf(compiler, { exportsTables: true, rls: RLS.replace('ctx.user?.id', settings), server })).join();
      expect(await errors('ctx.usr?.id'), name).toContain("'usr' does not exist");
      expect(await errors('ctx.user'), name).toContain("is not assignable to type 'string | number | boolean");
    }
  });
});
