import { existsSync } from 'node:fs';
import { readdir, readFile, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeFunctions } from '../../server/program.js';
import { importProgram } from '../../server/program-module.js';
import { describeRoutes } from '../../server/routes.js';
import { removeOldBuilds } from './bundle.js';
import { compileProject } from './compile.js';
import { describeCode } from './describe.js';
import type { Inspect } from './inspect.js';
import { loadBundle } from './load.js';
import { CodeProblem } from './problem.js';
import { makeProject, messagesFunctions, messagesSchema, type TestProject } from './project.test-kit.js';

let project: TestProject;
beforeEach(async () => {
  project = await makeProject({
    'convoy/schema.ts': messagesSchema,
    'convoy/functions/messages.ts': messagesFunctions,
  });
});
afterEach(() => project.remove());

/** Inspects the code in this thread; the tests of `convoy dev` cover the separate thread. */
const inspectHere: Inspect = async (...code) => describeCode(await loadBundle(...code));
const compile = async () => {
  const compiled = await compileProject(project.layout, inspectHere);
  return { ...compiled, source: await importProgram(pathToFileURL(compiled.program).href) };
};
const names = async () => describeFunctions((await compile()).source.functions).map(({ name }) => name);
const generated = (name: string) => readFile(path.join(project.layout.generatedFolder, name), 'utf8');

async function problem(): Promise<CodeProblem> {
  const error = await compile().catch((caught: unknown) => caught);
  if (error instanceof CodeProblem) return error;
  throw new Error('a CodeProblem was expected', { cause: error });
}

describe('compiling a project', () => {
  it('names functions by file and export, and writes the generated files', async () => {
    await project.write({
      'convoy/functions/index.ts': `import { query } from '../_generated/server';\nexport const ping = query({ handler: () => 1 });`,
      'convoy/functions/chat/rooms.ts': `import { query } from '../../_generated/server';\nexport const all = query({ handler: () => 1 });\nexport const helper = () => 2;`,
      'convoy/functions/messages/archive.ts': `import { mutation } from '../../_generated/server';\nexport const old = mutation({ handler: () => 1 });`,
      'convoy/functions/messages.test.ts': `throw new Error('tests are not functions');`,
      'convoy/functions/.draft.ts': `throw new Error('dotfiles are not functions');`,
    });
    expect(await names()).toEqual(['chat.rooms.all', 'messages.archive.old', 'messages.list', 'messages.send', 'ping']);
    expect(await generated('api.ts')).toContain(`readonly old: RefFor<'messages.archive.old', typeof`);
    expect(await generated('dataModel.ts')).toContain('export interface MessagesDocument');
  });

  it('writes no files and keeps the hash when the project is unchanged', async () => {
    const first = await compile();
    expect(first.written).toContain('api.ts');
    const second = await compile();
    expect(second.written).toEqual([]);
    expect(second.hash).toBe(first.hash);
    expect(second.inputs).toContain(path.join(project.root, 'convoy/functions/messages.ts'));
  });

  it('accepts a schema exported by name, and a context', async () => {
    await project.write({
      'convoy/schema.ts': messagesSchema.replace('export default', 'export const schema ='),
      'convoy/server.ts': `export const createContext = (_req: unknown, base: object) => ({ ...base, user: 'ana' });`,
    });
    const { source } = await compile();
    expect(Object.keys(source.schema.tables)).toEqual(['messages']);
    expect(source.createContext).toBeTypeOf('function');
    expect(await generated('server.ts')).toContain(`import type { createContext } from '../server.js'`);
    expect(await generated('dataModel.ts')).toContain(`import type { schema } from '../schema.js'`);
  });

  it('takes the row-level security of server.ts, with a context and without', async () => {
    await compile();
    expect(await generated('http.ts')).not.toContain('rls');
    const rls = `export const rls = { role: 'app_user', settings: (ctx) => ({ 'app.user': ctx.user }) };`;
    const context = 'export const createContext = (_req: unknown, base: object) => ({ ...base, user: 1 });';
    for (const server of [rls, `${context}\n${rls}`]) {
      await project.write({ 'convoy/server.ts': server });
      const { source } = await compile();
      expect(source.rls).toEqual({ role: 'app_user', settings: expect.any(Function) });
      expect(source.createContext === undefined).toBe(server === rls);
      expect(await generated('http.ts')).toContain(`const server = await import('../server.js')`);
      expect(await generated('http.ts')).toContain('    ...serverExports(server),');
    }
    await project.write({ 'convoy/server.ts': context });
    expect((await compile()).source.rls).toBeUndefined();
  });

  it('refuses a malformed row-level security', async () => {
    await project.write({ 'convoy/server.ts': `export const rls = { role: 'public', settings: () => ({}) };` });
    expect((await problem()).message).toContain(
      'convoy/server.ts: rls.role is "public", a name that Postgres reserves',
    );
  });

  it('refuses a server.ts with a misspelt export, or with a context that is no function', async () => {
    await project.write({ 'convoy/server.ts': 'export const createContex = () => ({});' });
    expect((await problem()).message).toContain(
      'convoy/server.ts exports createContex, which is not used. Did you mean createContext?',
    );
    await project.write({ 'convoy/server.ts': 'export const createContext = { user: 1 };' });
    expect((await problem()).message).toContain('convoy/server.ts exports createContext, which is an object. Export a');
    await project.write({ 'convoy/server.ts': 'export const als = 1;\nexport let createContext: undefined;' });
    expect((await compile()).source.createContext).toBeUndefined();
  });

  it('takes the HTTP routes of http.ts, whose builders are typed with the context', async () => {
    await compile();
    expect(await generated('http.ts')).not.toContain('routes');
    await project.write({
      'convoy/http.ts': `import { route } from './_generated/server';
export const hook = route.post('/hooks/:id', async (ctx, request, { id }) => new Response(id));
export const helper = () => 2;`,
    });
    const { source } = await compile();
    expect(describeRoutes(source.routes)).toEqual([{ name: 'hook', method: 'POST', path: '/hooks/:id', options: {} }]);
    expect(await generated('http.ts')).toContain(`const routes = await import('../http.js')`);
    expect(await generated('server.ts')).toMatch(/^ {2}route,$/m);
    await project.write({ 'convoy/http.ts': null });
    expect((await compile()).source.routes).toBeUndefined();
  });

  it('takes the security schemes of server.ts, also without a context, and refuses mistakes in them', async () => {
    const exporting = (schemes: string) =>
      project.write({ 'convoy/server.ts': `export const securitySchemes = ${schemes};` });
    await exporting(`{ key: { type: 'apiKey', in: 'header', name: 'x-api-key' } }`);
    const { source } = await compile();
    expect(source.securitySchemes).toEqual({ key: { type: 'apiKey', in: 'header', name: 'x-api-key' } });
    expect(source.createContext).toBeUndefined();
    expect(await generated('server.ts')).not.toContain('../server.js');
    expect(await generated('http.ts')).toContain('...serverExports(server),');
    await exporting(`{ key: { type: 'apiKey', in: 'body', name: 'key' } }`);
    await expect(compile()).rejects.toThrow(
      '`securitySchemes` of convoy/server.ts has a mistake at key.in: expected header, cookie or query.',
    );
    await exporting('undefined');
    expect((await compile()).source.securitySchemes).toBeUndefined();
  });

  it('infers a table from the export that is this table', async () => {
    await project.write({
      'convoy/tables/rooms.ts': messagesSchema
        .replace(/export default[\s\S]*/, '')
        .concat(`export const rooms = defineTable({ name: z.string() }).index('by_name', ['name']);\n`),
      'convoy/schema.ts': `import { defineSchema, defineTable } from '@avvos/convoy';
        import { z } from 'zod';
        import { rooms } from './tables/rooms';
        export * from './tables/rooms';
        export const members = defineTable({ name: z.string() });
        export const searchable: { readonly indexes: object } = rooms;
        export const messages = defineTable({ body: z.string() });
        export const [one, other] = Array<typeof messages>(2).fill(defineTable({ body: z.string() }));
        export default defineSchema({ rooms, members: members.index('by_name', ['name']), messages, twice: one, notes: { a: z.string() } });`,
    });
    await compile();
    const dataModel = await generated('dataModel.ts');
    const definitions = [...dataModel.matchAll(/indexes: IndexesOf<(.*)> };/g)].map(([, definition]) => definition);
    // The export `members` has no index.
    expect(definitions).toEqual([
      'typeof schemaModule.rooms',
      "Tables['members']",
      'typeof schemaModule.messages',
      // Two exports, neither with the name of the table.
      "Tables['twice']",
      "Tables['notes']",
    ]);
  });

  it('lets functions use references that are not generated yet', async () => {
    await compile();
    await project.write({
      'convoy/functions/later.ts': `import { api } from '../_generated/api';
        import { query } from '../_generated/server';
        const name = api.later.one.name;
        export const one = query({ handler: () => name });`,
    });
    const { source } = await compile();
    const [one] = describeFunctions(source.functions).filter(({ name }) => name === 'later.one');
    expect(one).toMatchObject({ name: 'later.one', kind: 'query' });
    const { later } = source.functions as { later: { one: { run(ctx: object, args: object): Promise<unknown> } } };
    expect(await later.one.run({}, {})).toBe('later.one');
  });

  it('keeps internal functions out of `api`, also before the generated files exist', async () => {
    await project.write({
      'convoy/functions/mail.ts': `import { api, internal } from '../_generated/api';
        import { authed, internalAction } from '../_generated/server';
        export const invite = authed.action({ handler: (ctx) => ctx.runAction(internal.mail.deliver) });
        export const deliver = internalAction({ handler: () => api.mail.invite.name });`,
    });
    const { source } = await compile();
    expect(describeFunctions(source.functions)).toMatchObject([
      { name: 'mail.deliver', kind: 'action', internal: true },
      { name: 'mail.invite', kind: 'action', internal: false },
      { name: 'messages.list' },
      { name: 'messages.send' },
    ]);
    const [api, internal] = (await generated('api.ts')).split('export interface Internal');
    expect(api).toContain(`readonly invite: RefFor<'mail.invite'`);
    expect(api).not.toContain('mail.deliver');
    expect(internal).toContain(`deliver: makeActionRef('mail.deliver')`);
  });

  it('bundles TypeScript of the same project and leaves packages to Node', async () => {
    await project.write({
      'shared/names.ts': `export const greeting: string = 'hello';`,
      'tsconfig.json': `{ "compilerOptions": { "paths": { "@shared/*": ["./shared/*"] } } }`,
      'convoy/functions/hello.ts': `import { greeting } from '@shared/names';
        import { query } from '../_generated/server';
        export const hello = query({ handler: () => greeting });`,
    });
    const { source, inputs, hash } = await compile();
    const { hello } = source.functions as { hello: { hello: { run(ctx: object, args: object): Promise<unknown> } } };
    expect(await hello.hello.run({}, {})).toBe('hello');
    expect(inputs).toContain(path.join(project.root, 'shared/names.ts'));
    expect(inputs.join()).not.toContain('node_modules');
    expect(await readFile(path.join(project.layout.buildFolder, `${hash}.mjs`), 'utf8')).toContain(`from "zod"`);
  });

  it('deletes old builds that are not in use', async () => {
    const { hash } = await compile();
    await project.write({ '.convoy/build/old.mjs': '', '.convoy/build/new.mjs': '' });
    const anHourAgo = Date.now() / 1000 - 3600;
    for (const name of ['old.mjs', `${hash}.mjs`]) {
      await utimes(path.join(project.layout.buildFolder, name), anHourAgo, anHourAgo);
    }
    await removeOldBuilds(project.layout.buildFolder, hash);
    const left = await readdir(project.layout.buildFolder);
    expect(left).toContain(`${hash}.mjs`);
    expect(left).toContain('new.mjs');
    expect(left).not.toContain('old.mjs');
  });
});

describe('an error in the code', () => {
  const broken = (text: string) => project.write({ 'convoy/functions/broken.ts': text });

  it('is reported with file, line, column and the line, for syntax', async () => {
    await broken(`export const a = 1;\nexport const b = (2;\n`);
    const error = await problem();
    expect(error.diagnostics).toMatchObject([
      { location: { file: 'convoy/functions/broken.ts', line: 2, column: 19, lineText: 'export const b = (2;' } },
    ]);
    expect(error.format({ color: false })).toContain('convoy/functions/broken.ts:2:19:');
    expect(error.format({ color: false })).toContain('export const b = (2;');
  });

  it('is reported for a package that does not exist', async () => {
    await broken(`\nimport { x } from 'no-such-package';\nexport const y = x;`);
    const [diagnostic] = (await problem()).diagnostics;
    expect(diagnostic).toMatchObject({
      text: expect.stringContaining('no-such-package'),
      location: { line: 2 },
      notes: [],
    });
  });

  it('is reported for an error thrown while a module is loaded, again after another failure', async () => {
    const text = `const read = (x: { a?: { b: number } }): number => {\n  return x.a!.b;\n};\nexport const n = read({});`;
    for (const round of [1, 2]) {
      await broken(text);
      const [diagnostic] = (await problem()).diagnostics;
      expect(diagnostic, `round ${round}`).toMatchObject({
        text: expect.stringContaining(`reading 'b'`),
        location: { file: 'convoy/functions/broken.ts', line: 2, lineText: '  return x.a!.b;' },
      });
    }
  });

  it('is reported for a rejected schema, at the field', async () => {
    await project.write({ 'convoy/schema.ts': messagesSchema.replace('z.string()', 'z.date()') });
    const [diagnostic] = (await problem()).diagnostics;
    expect(diagnostic).toMatchObject({
      text: expect.stringContaining('messages.body'),
      location: { file: 'convoy/schema.ts', line: 5 },
    });
  });

  it('is reported for a schema that is not exported, and one that does not exist', async () => {
    await project.write({ 'convoy/schema.ts': 'export const tables = 1;' });
    expect((await problem()).message).toContain('convoy/schema.ts exports no schema');
    await project.write({ 'convoy/schema.ts': null });
    await expect(compile()).rejects.toThrow(/no convoy\/schema\.ts/);
  });

  it('is reported for two functions of the same name', async () => {
    await project.write({ 'convoy/functions/messages/index.ts': messagesFunctions.replace("'../_", "'../../_") });
    expect((await problem()).message).toMatch(/same name: messages\.list/);
  });

  it('leaves the generated files unchanged', async () => {
    await compile();
    const file = path.join(project.layout.generatedFolder, 'api.ts');
    const before = await stat(file);
    await broken('export const = 1');
    await problem();
    expect((await stat(file)).mtimeMs).toBe(before.mtimeMs);
    expect(existsSync(path.join(project.layout.generatedFolder, 'server.ts'))).toBe(true);
  });
});
