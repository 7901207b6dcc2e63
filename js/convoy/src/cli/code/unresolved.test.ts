import { afterEach, beforeEach, expect, it } from 'vitest';
import { compileProject } from './compile.js';
import { describeCode } from './describe.js';
import { loadBundle } from './load.js';
import { CodeProblem } from './problem.js';
import { makeProject, messagesSchema, type TestProject } from './project.test-kit.js';

let project: TestProject;
beforeEach(async () => {
  project = await makeProject({ 'convoy/schema.ts': messagesSchema, 'convoy/lib/dates.ts': 'export const day = 1;' });
});
afterEach(() => project.remove());

async function compileError(files: Readonly<Record<string, string>>): Promise<CodeProblem> {
  await project.write(files);
  const compiling = compileProject(project.layout, async (...code) => describeCode(await loadBundle(...code)));
  const error: unknown = await compiling.catch((thrown: unknown) => thrown);
  if (error instanceof CodeProblem) return error;
  throw error instanceof Error ? error : new Error('the project was compiled');
}

it.each([
  ['dayjs', 'npm install dayjs'],
  ['lodash/fp', 'npm install lodash'],
  ['@scope/pkg/sub', 'npm install @scope/pkg'],
  ['../lib/date', 'Did you mean "../lib/dates"?'],
  ['../lib/date.ts', 'Did you mean "../lib/dates"?'],
  ['../lib/quite-another', 'There is no file convoy/lib/quite-another.'],
  ['../libs/dates', 'There is no folder convoy/libs.'],
  ['@/lib/dates', '"compilerOptions.paths"'],
  ['~/lib/dates', '"compilerOptions.paths"'],
  ['$lib/dates', '"compilerOptions.paths"'],
  ['#lib', 'lists "#lib" under "imports"'],
])('an unresolved import of %s is reported with advice', async (specifier, advice) => {
  const { message } = await compileError({
    'convoy/functions/a.ts': `import x from '${specifier}';\nexport const y = x;\n`,
  });
  expect(message).toContain(`Could not resolve "${specifier}"`);
  expect(message).toContain('convoy/functions/a.ts:1:');
  expect(message).toContain(advice);
});

it.each([
  ['pnpm-lock.yaml', 'pnpm add dayjs'],
  ['yarn.lock', 'yarn add dayjs'],
  ['bun.lock', 'bun add dayjs'],
  ['package-lock.json', 'npm install dayjs'],
])('where there is a %s, a package is installed by %s', async (lockfile, command) => {
  const { message } = await compileError({
    [lockfile]: '',
    'convoy/functions/a.ts': "import x from 'dayjs';\nexport const y = x;\n",
  });
  expect(message).toContain(`The package dayjs is not installed: ${command}`);
});

it('a missing export of a generated file is reported with that file', async () => {
  const code = "import { qury } from '../_generated/server';\nexport const y = qury({ handler: () => 1 });\n";
  const { message } = await compileError({ 'convoy/functions/a.ts': code });
  expect(message).toContain('No matching export in "convoy/_generated/server" for import "qury"');
});

it('a refused schema points at each table and field', async () => {
  const { diagnostics } = await compileError({
    'convoy/schema.ts': `import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

const rooms = defineTable({
  name: z.string(),
  opened: z.date(),
});

export default defineSchema({
  messages: defineTable({ body: z.string() }).index('by_author', ['author']),
  rooms,
  '1st': defineTable({ a: z.string() }),
  people: defineTable({
    name: z.string(),
    address: z.object({ since: z.date() }),
  }),
});
`,
  });
  const places = diagnostics.map(({ text, location }) => [text.split(':')[0], location?.line]);
  expect(places).toEqual([
    ['messages.by_author', 10],
    ['rooms.opened', 6],
    ['1st', 12],
    ['people.address.since', 15],
  ]);
});
