/**
 * A project with 500 functions in 100 files and 60 tables. Its types are bounded by the number of type instantiations,
 * which is the same on every machine; `tests/bench/types.mjs` measures the time.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generateFiles } from '../js/convoy/src/codegen/index.ts';
import { COMPILERS, typeCheck } from './compilers.mjs';
import { writeProject } from './project/index.mjs';

/** A tenth more than today. A change that needs more should say why; see docs/internals/javascript.md. */
const MOST_INSTANTIATIONS = 730_000;

/** Of a completion, which infers one function and the tables that it uses; all tables take 100,000. */
const MOST_OF_A_COMPLETION = 9_000;

/** Wrong calls, which show that the types of the project are inferred, and are not any. */
const WRONG = `import { useQuery } from '@avvos/convoy/react';
import { api } from '../convoy/_generated/api';
export const useWrongArgs = () => useQuery(api.accounts.list, { ownerId: 7 });
export const useWrongResult = () => useQuery(api.accounts.list, { ownerId: 'accountNotes:1' }).data?.[0]?.titel;
export const useWrongKind = () => useQuery(api.accounts.create, { ownerId: 'accountNotes:1', title: '', phone: null });
`;

let folder;
beforeAll(async () => {
  const parent = join(import.meta.dirname, '.convoy');
  await mkdir(parent, { recursive: true });
  folder = await mkdtemp(join(parent, 'large-'));
  await writeProject(folder, generateFiles);
});
afterAll(() => rm(folder, { recursive: true }));

test.each(COMPILERS)('$name finds no error, and stays within the budget', async ({ folder: compiler, single }) => {
  const { errors, instantiations } = await typeCheck({ folder: compiler }, folder, single);
  expect(errors).toEqual([]);
  console.log(`${instantiations} type instantiations`);
  expect(instantiations).toBeGreaterThan(100_000);
  expect(instantiations).toBeLessThan(MOST_INSTANTIATIONS);
});

test('wrong calls are errors there', async () => {
  const file = join(folder, 'client/Wrong.tsx');
  await writeFile(file, WRONG);
  const [, latest] = COMPILERS;
  const { errors } = await typeCheck(latest, folder, latest.single);
  await rm(file);
  expect(errors.map((error) => error.replace(/^.*?Wrong\.tsx/, ''))).toEqual([
    expect.stringMatching(/^\(3,\d+\): error TS2322: Type 'number' is not assignable/),
    expect.stringMatching(/^\(4,\d+\): error TS2551: Property 'titel' does not exist .* 'title'\?$/),
    expect.stringMatching(/^\(5,\d+\): error TS2345: Argument of type 'MutationRef</),
  ]);
});

/** The names that TypeScript 5.9 offers at the `|` of a component, and the type instantiations for them. */
function complete(typed) {
  const ts = createRequire(import.meta.url)(join(COMPILERS[0].folder, 'lib/typescript.js'));
  const { fileNames, options } = ts.getParsedCommandLineOfConfigFile(join(folder, 'tsconfig.json'), {}, ts.sys);
  const component = join(folder, 'client/Typing.tsx');
  const text = `import { useQuery } from '@avvos/convoy/react';
import { api } from '../convoy/_generated/api';
export function useTyping(ownerId: \`accountNotes:\${string}\`) {
  const list = useQuery(api.accounts.list, { ownerId });
  ${typed}
}`;
  const textOf = (file) => (file === component ? text.replace('|', '') : ts.sys.readFile(file));
  const service = ts.createLanguageService({
    ...ts.sys,
    useCaseSensitiveFileNames: () => ts.sys.useCaseSensitiveFileNames,
    getScriptFileNames: () => [...fileNames, component],
    getScriptVersion: () => '1',
    getScriptSnapshot: (file) => ts.ScriptSnapshot.fromString(textOf(file)),
    getCompilationSettings: () => options,
    getDefaultLibFileName: ts.getDefaultLibFilePath,
  });
  const completions = service.getCompletionsAtPosition(component, text.indexOf('|'), {});
  return {
    names: completions.entries.map(({ name }) => name),
    instantiations: service.getProgram().getInstantiationCount(),
  };
}

test.each([
  ['useQuery(api.articles.list, { | })', ['limit', 'ownerId', 'status']],
  ['list.data?.[0]?.|', ['title', 'address', '_creationTime']],
])('a completion infers what it needs: %s', (typed, expected) => {
  const { names, instantiations } = complete(typed);
  expect(names).toEqual(expect.arrayContaining(expected));
  console.log(`${instantiations} type instantiations`);
  expect(instantiations).toBeGreaterThan(1_000);
  expect(instantiations).toBeLessThan(MOST_OF_A_COMPLETION);
});
