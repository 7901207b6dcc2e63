/** Type-checks the generated files of a small project, with code that uses them, by the real compiler. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { generateFiles } from './generate-files.js';
import type { Project, ProjectFunction } from './project.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const packageFolder = path.join(here, '../..');
const compiler = path.join(path.dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');

function leaf(name: string, kind: ProjectFunction['kind'], changes: Partial<ProjectFunction> = {}): ProjectFunction {
  const [folder = '', exportName = ''] = name.split('.');
  return { name, kind, internal: false, module: `../functions/${folder}.js`, exportName, ...changes };
}

const project: Project = {
  schema: { module: '../schema.js', exportName: 'default' },
  tables: [
    { name: 'channels', isUnion: false },
    { name: 'messages', isUnion: false, exportName: 'messages' },
    { name: 'events', isUnion: true, exportName: 'happenings' },
  ],
  functions: [
    leaf('messages.list', 'query'),
    leaf('messages.send', 'mutation'),
    leaf('messages.overview', 'query'),
    leaf('messages.publish', 'action'),
    leaf('messages.mark', 'mutation', { internal: true }),
    leaf('messages.post', 'action', { internal: true }),
    leaf('admin.names', 'query', { module: '../functions/admin/index.js' }),
    leaf('admin.first', 'query', { module: '../functions/admin/index.js' }),
  ],
  serverModule: '../server.js',
  hasContext: true,
  routesModule: null,
  drizzleStandIn: false,
};

/** `E` is a placeholder for the file extension in imports. */
const written: Readonly<Record<string, string>> = {
  'convoy/schema.ts': `
    import { defineRef, defineSchema, defineTable } from '@avvos/convoy';
    import { z } from 'zod';
    export const messages =
      defineTable({ channelId: defineRef('channels'), body: z.string(), likes: z.number().default(0) })
        .index('by_channel', ['channelId', '_creationTime']);
    const events = defineTable(z.union([z.object({ joined: z.string() }), z.object({ left: z.number() })]));
    export { events as happenings };
    export default defineSchema({
      channels: defineTable({ name: z.string() }).index('by_name', ['name'], { unique: true }),
      messages,
      events,
    });`,
  'convoy/server.ts': `
    import type { IncomingMessage } from 'node:http';
    import type { RowLevelSecurity } from '@avvos/convoy';
    import type { AppContext, ServerContext } from './_generated/serverE';
    export const rls: RowLevelSecurity<AppContext> = {
      role: 'app_user',
      settings: (ctx) => ({ 'app.user': ctx.user, 'app.length': ctx.user?.length }),
    };
    export async function createContext(req: IncomingMessage, base: ServerContext) {
      const channel = await base.db.query('channels').withIndex('by_name', (q) => q.eq('name', 'general')).first();
      return { ...base, user: req.headers.cookie ?? channel?.name ?? null };
    }`,
  'convoy/functions/messages.ts': `
    import { defineRef } from '@avvos/convoy';
    import { z } from 'zod';
    import { api, internal } from '../_generated/apiE';
    import { action, internalAction, internalMutation, mutation, query } from '../_generated/serverE';
    export const list = query({
      input: { channelId: defineRef('channels') },
      handler: async (ctx, { channelId }) =>
        ctx.db.query('messages').withIndex('by_channel', (q) => q.eq('channelId', channelId)).order('desc').take(50),
    });
    export const send = mutation({
      input: { channelId: defineRef('channels'), body: z.string() },
      handler: async (ctx, message) => {
        const id = await ctx.db.insert('messages', message);
        const names = await ctx.runQuery(api.admin.names);
        await ctx.runMutation(internal.messages.mark, { id });
        return { id, by: ctx.user, next: api.messages.list, names: names.length };
      },
    });
    export const mark = internalMutation({
      input: { id: defineRef('messages') },
      handler: async (ctx, { id }) => (await ctx.db.patch(id, { likes: 1 })) !== null,
    });
    // Calls others by reference and by value, and is part of \`api\` itself: this needs no annotation.
    export const overview = query({
      handler: async (ctx) => ({
        names: await ctx.runQuery(api.admin.names),
        first: await ctx.runQuery(api.admin.first, {}),
        newest: await ctx.runQuery(list, { channelId: 'channels:1' }),
        at: ctx.now(1_000),
      }),
    });
    export const publish = action({
      input: { channelId: defineRef('channels'), body: z.string() },
      handler: async (ctx, message) => {
        const { id, by } = await ctx.runMutation(api.messages.send, message);
        return { by, posts: await ctx.runAction(internal.messages.post, { id, times: 3 }) };
      },
    });
    // A recursive function needs a return annotation.
    export const post = internalAction({
      input: { id: defineRef('messages'), times: z.number() },
      handler: async (ctx, { id, times }): Promise<number> =>
        times === 0 ? 0 : 1 + (await ctx.runAction(internal.messages.post, { id, times: times - 1 })),
    });`,
  'convoy/functions/admin/index.ts': `
    import { api } from '../../_generated/apiE';
    import { query } from '../../_generated/serverE';
    export const names = query({
      handler: async (ctx) => (await ctx.db.query('channels').collect()).map((channel) => channel.name),
    });
    export const first = query({
      handler: async (ctx) => {
        const messages = await ctx.runQuery(api.messages.list, { channelId: 'channels:1' });
        return messages[0] ?? null;
      },
    });`,
  'check.ts': `
    import type { ArgsOfRef, ResultOfRef } from '@avvos/convoy/client';
    import { api, internal } from './convoy/_generated/apiE';
    import type { DataModel, Doc, Id, TableName } from './convoy/_generated/dataModelE';
    import type { AppContext, ServerContext } from './convoy/_generated/serverE';

    type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
    const yes = <T extends true>(value?: T) => value;

    yes<Same<TableName, 'channels' | 'messages' | 'events'>>();
    yes<Same<Doc<'messages'>['likes'], number>>();
    yes<Same<Doc<'messages'>['id'], Id<'messages'>>>();
    yes<Same<Doc<'messages'>['_creationTime'], number>>();
    yes<Same<DataModel['messages']['input']['likes'], number | undefined>>();
    yes<Same<Extract<Doc<'events'>, { joined: string }>['id'], Id<'events'>>>();
    yes<Same<AppContext['user'], string | null>>();
    yes<Same<'user' extends keyof ServerContext ? true : false, false>>();
    yes<Same<ArgsOfRef<typeof api.messages.list>, { channelId: \`channels:\${string}\` }>>();
    yes<Same<ResultOfRef<typeof api.messages.list>[number]['body'], string>>();
    yes<Same<ResultOfRef<typeof api.messages.send>['id'], Id<'messages'>>>();
    yes<Same<ResultOfRef<typeof api.admin.names>, string[]>>();
    yes<Same<NonNullable<ResultOfRef<typeof api.admin.first>>['body'], string>>();
    yes<Same<(typeof api.messages.send)['kind'], 'mutation'>>();
    yes<Same<(typeof api.messages.publish)['kind'], 'action'>>();
    yes<Same<ResultOfRef<typeof api.messages.publish>, { by: string | null; posts: number }>>();
    yes<Same<ResultOfRef<typeof api.messages.overview>['names'], string[]>>();
    yes<Same<ResultOfRef<typeof api.messages.overview>['newest'], ResultOfRef<typeof api.messages.list>>>();
    yes<Same<ResultOfRef<typeof internal.messages.mark>, boolean>>();
    // @ts-expect-error internal functions are not part of \`api\`
    api.messages.mark;
    // @ts-expect-error there is no such function
    api.messages.remove;`,
};

describe('the generated types', { timeout: 120_000 }, () => {
  let folder: string;

  beforeEach(async () => {
    const local = path.join(packageFolder, '.convoy');
    await mkdir(local, { recursive: true });
    folder = await mkdtemp(path.join(local, 'types-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function write(files: Iterable<readonly [string, string]>) {
    for (const [name, text] of files) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
      await writeFile(path.join(folder, name), text);
    }
  }

  async function check(moduleSettings: Readonly<Record<string, string>>): Promise<string> {
    const source = path.relative(folder, path.join(packageFolder, 'src'));
    const compilerOptions = {
      ...moduleSettings,
      target: 'ES2023',
      lib: ['ES2023', 'DOM', 'DOM.Iterable', 'DOM.AsyncIterable'],
      types: ['node'],
      strict: true,
      exactOptionalPropertyTypes: true,
      verbatimModuleSyntax: true,
      isolatedModules: true,
      skipLibCheck: true,
      noEmit: true,
      // Resolves to the sources, so that the test needs no build.
      paths: {
        '@avvos/convoy': [`${source}/index.ts`],
        '@avvos/convoy/client': [`${source}/client/index.ts`],
        '@avvos/convoy/node': [`${source}/server/index.ts`],
      },
    };
    const config = JSON.stringify({ compilerOptions, include: ['convoy', 'check.ts'] });
    await write([['tsconfig.json', config]]);
    return new Promise((resolve) => {
      // The exit code is ignored: the compiler prints every error.
      execFile(process.execPath, [compiler, '-p', folder], (_error, stdout, stderr) => resolve(stdout + stderr));
    });
  }

  const generated = (of: Project) =>
    [...generateFiles(of)].map(([name, text]) => [`convoy/_generated/${name}`, text] as const);
  const userFiles = (ending: string) =>
    Object.entries(written).map(
      ([name, text]) => [name, text.replace(/(\/_generated\/\w+)E'/g, `$1${ending}'`)] as const,
    );

  it.each([
    ['for bundlers', '', { module: 'esnext', moduleResolution: 'bundler' }],
    ['for Node', '.js', { module: 'nodenext', moduleResolution: 'nodenext' }],
  ])('compile %s, also where functions refer to each other', async (_for, ending, settings) => {
    await write([...userFiles(ending), ...generated(project), ['package.json', '{ "type": "module" }']]);
    expect(await check(settings)).toBe('');
  });

  it('give readable compiler errors for a function of the wrong kind and for a write in a query', async () => {
    const checked = `
      import { createConvoyClient } from '@avvos/convoy/client';
      import { api } from './convoy/_generated/api';
      import { query } from './convoy/_generated/server';
      export const writes = query({ handler: (ctx) => ctx.db.insert('channels', { name: 'x' }) });
      export const runs = query({ handler: (ctx) => ctx.runMutation(api.messages.send, { channelId: 'channels:1', body: '' }) });
      const client = createConvoyClient();
      client.query(api.messages.send, { channelId: 'channels:1', body: '' });
      client.mutation(api.messages.list, { channelId: 'channels:1' });`;
    await write([...userFiles(''), ...generated(project), ['package.json', '{ "type": "module" }']]);
    await write([['check.ts', checked]]);
    const output = await check({ module: 'esnext', moduleResolution: 'bundler' });
    const errors = output.split(/^(?=\S*check\.ts)/m);
    expect(errors, output).toHaveLength(4);
    expect(errors[0]).toContain(`'this' of type '"A query only reads. Make this function a mutation."'`);
    expect(errors[1]).toContain(`'this' of type '"A query only reads. Make this function a mutation."'`);
    expect(errors[2]).toContain('"messages.send is a mutation. Call it with client.mutation."');
    expect(errors[3]).toContain('"messages.list is a query. Call it with client.query."');
  });

  it('declare `sql` of drizzle-orm where functions import it and it is not installed', async () => {
    await write([
      ...userFiles(''),
      ...generated({ ...project, drizzleStandIn: true }),
      [
        'check.ts',
        `import { type SQL, sql } from 'drizzle-orm';
         import { query } from './convoy/_generated/server';
         const rows: SQL = sql<{ n: number }>\`select \${1} as n from \${sql.identifier('messages')}\`;
         export const one = query({ handler: (ctx) => ctx.db.raw<{ n: number }>(rows) });
         export { sql as same } from 'drizzle-orm/sql';
         // @ts-expect-error Only the real package exports it.
         export { eq } from 'drizzle-orm';`,
      ],
    ]);
    expect(await check({ module: 'esnext', moduleResolution: 'bundler' })).toBe('');
  });

  it('compile for an empty project', async () => {
    const empty = { ...project, tables: [], functions: [], serverModule: null, hasContext: false };
    await write([
      ...generated(empty),
      ['convoy/schema.ts', `import { defineSchema } from '@avvos/convoy';\nexport default defineSchema({});`],
      [
        'check.ts',
        `import { query } from './convoy/_generated/server';\nexport const one = query({ handler: () => 1 });`,
      ],
    ]);
    expect(await check({ module: 'esnext', moduleResolution: 'bundler' })).toBe('');
  });
});
