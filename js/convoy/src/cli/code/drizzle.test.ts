/** Functions written for 0.0.1 import `sql` from `drizzle-orm`, which may not be installed. */
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { importProgram } from '../../server/program-module.js';
import { SqlFragment } from '../../sql/index.js';
import { compileProject } from './compile.js';
import { describeCode } from './describe.js';
import type { Inspect } from './inspect.js';
import { loadBundle } from './load.js';
import { CodeProblem } from './problem.js';
import { makeProject, messagesSchema, type TestProject } from './project.test-kit.js';

let project: TestProject;
beforeEach(async () => {
  project = await makeProject({ 'convoy/schema.ts': messagesSchema });
});
afterEach(() => project.remove());

/** Inspects the code in this thread, as in compile.test.ts. */
const inspectHere: Inspect = async (...code) => describeCode(await loadBundle(...code));
const compile = () => compileProject(project.layout, inspectHere);

const functionsThat = (imports: string, value: string) =>
  project.write({
    'convoy/functions/reports.ts': `${imports}
      import { query } from '../_generated/server';
      export const one = query({ handler: () => ${value} });`,
  });

/** The function's result, and the bundle's text. */
async function compiled() {
  const { program, hash, written, removed } = await compile();
  const source = await importProgram(pathToFileURL(program).href);
  const { reports } = source.functions as { reports: { one: { run(ctx: object, args: object): Promise<unknown> } } };
  const text = await readFile(path.join(project.layout.buildFolder, `${hash}.mjs`), 'utf8');
  return { result: await reports.one.run({}, {}), text, generated: { written, removed } };
}

async function diagnostics() {
  const error = await compile().catch((caught: unknown) => caught);
  if (error instanceof CodeProblem) return error.diagnostics;
  throw new Error('a CodeProblem was expected', { cause: error });
}

const installDrizzle = () =>
  project.write({
    'node_modules/drizzle-orm/package.json': `{ "name": "drizzle-orm", "type": "module", "exports": { ".": "./index.js", "./pg-core": "./pg-core.js" } }`,
    'node_modules/drizzle-orm/index.js': `export const sql = () => 'of Drizzle'; export const eq = () => 'eq of Drizzle';`,
    'node_modules/drizzle-orm/pg-core.js': `export const pgTable = () => 'a table';`,
  });
const declaration = () => path.join(project.layout.generatedFolder, 'drizzle-orm.d.ts');

describe('where drizzle-orm is not installed', () => {
  it.each([
    ['by name', `import { sql } from 'drizzle-orm';`, 'sql`select 1`'],
    ['from the part that has it', `import { sql } from 'drizzle-orm/sql';`, 'sql`select 1`'],
    ['under another name', `import { sql as query_ } from 'drizzle-orm';`, 'query_`select 1`'],
    ['beside a type', `import { type SQL, sql } from 'drizzle-orm';\nlet q: SQL;`, 'q = sql`select 1`'],
    ['as a namespace', `import * as orm from 'drizzle-orm';`, 'orm.sql`select 1`'],
    ['at run time', '', "import('drizzle-orm').then(({ sql }) => sql`select 1`)"],
  ])("sql resolves to Convoy's, imported %s", async (_how, imports, value) => {
    await functionsThat(imports, value);
    const { result, text } = await compiled();
    expect(result).toMatchObject({ parts: ['select 1'], values: [] });
    // An import of the package, not a copy in the bundle.
    expect(text).toContain('"@avvos/convoy/sql"');
    expect(text).not.toContain(SqlFragment.name);
  });

  it('its types are declared while they are needed', async () => {
    await functionsThat(`import { sql } from 'drizzle-orm';`, 'sql`select 1`');
    expect((await compiled()).generated.written).toContain('drizzle-orm.d.ts');
    expect(await readFile(path.join(project.layout.generatedFolder, 'server.ts'), 'utf8')).toContain(
      '/// <reference path="./drizzle-orm.d.ts" />',
    );
    expect((await compiled()).generated).toEqual({ written: [], removed: [] });
    await functionsThat(`import { sql } from '@avvos/convoy/sql';`, 'sql`select 1`');
    expect((await compiled()).generated).toEqual({ written: ['server.ts'], removed: ['drizzle-orm.d.ts'] });
  });

  it("sql resolves to Convoy's where tsconfig aliases the name to it", async () => {
    const paths = { 'drizzle-orm': ['./node_modules/@avvos/convoy/sql.mjs'] };
    await project.write({ 'tsconfig.json': JSON.stringify({ compilerOptions: { paths } }) });
    await functionsThat(`import { sql } from 'drizzle-orm';`, 'sql`select 1`');
    const { result, text } = await compiled();
    expect(result).toMatchObject({ parts: ['select 1'] });
    expect(text).toContain('"@avvos/convoy/sql"');
  });

  it.each([
    ['a name', `import { eq, sql } from 'drizzle-orm';`, 'eq(sql`a`, 1)', '"eq" cannot be imported from "drizzle-orm"'],
    ['the default', `import orm from 'drizzle-orm';`, 'orm.sql`a`', '"default" cannot be imported from "drizzle-orm"'],
    ['a member', `import * as orm from 'drizzle-orm';`, 'orm.desc(1)', '"desc" cannot be imported from "drizzle-orm"'],
    [
      'a part',
      `import { pgTable } from 'drizzle-orm/pg-core';`,
      'pgTable()',
      '"drizzle-orm/pg-core" cannot be imported',
    ],
  ])('%s that only the package has is an error with instructions', async (_what, imports, value, message) => {
    await functionsThat(`\n${imports}`, value);
    const [diagnostic, ...more] = await diagnostics();
    expect(more).toEqual([]);
    expect(diagnostic?.text).toContain(message);
    expect(diagnostic?.text).toContain('Run `npm install drizzle-orm`. Without it, only `sql` can be imported');
    expect(diagnostic?.location).toMatchObject({ file: 'convoy/functions/reports.ts' });
    expect(existsSync(declaration())).toBe(false);
  });
});

describe('where drizzle-orm is installed', () => {
  it('it is left to Node, with all exports', async () => {
    await installDrizzle();
    await functionsThat(
      `import { eq, sql } from 'drizzle-orm';\nimport { pgTable } from 'drizzle-orm/pg-core';`,
      '[sql(), eq(), pgTable()]',
    );
    const { result, text } = await compiled();
    expect(result).toEqual(['of Drizzle', 'eq of Drizzle', 'a table']);
    expect(text).toContain('"drizzle-orm"');
    expect(existsSync(declaration())).toBe(false);
  });

  it('the stand-in and its declaration are removed, and come back when it is uninstalled', async () => {
    await functionsThat(`import { sql } from 'drizzle-orm';`, 'sql`select 1`');
    await compiled();
    await installDrizzle();
    const { result, generated } = await compiled();
    expect(result).toBe('of Drizzle');
    expect(generated.removed).toEqual(['drizzle-orm.d.ts']);
    await rm(path.join(project.root, 'node_modules/drizzle-orm'), { recursive: true });
    expect((await compiled()).generated.written).toContain('drizzle-orm.d.ts');
  });
});
