// Measures what Convoy's types cost in a generated project with 500 functions in 100 files and 60 tables: the time that
// they add to `tsc`, and how long an editor waits for completions, each with TypeScript 5.9 and 7. In the project
// `schema.ts` exports each table; with `one schema` all of them are in one expression.
//
//   node tests/bench/types.mjs [--only tsc|completions] [--runs 3] [--completions 15]
//
// The baseline of `tsc` is the same project, with a stub in place of Convoy that types everything as `any`. So what is
// added includes everything that the compiler does for documents, arguments and results. The two alternate, and the
// least of the runs counts, as others of the machine only make them longer.
//
// Completions are asked for after each edit of the file, when the editor's program is new. `first` is the first one
// after the project is opened, which includes loading it.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { generateFiles } from '../../js/convoy/dist/codegen/index.js';
import { root } from '../../scripts/run.mjs';
import { COMPILERS, typeCheck } from '../../type-tests/compilers.mjs';
import { LanguageServer, TsServer } from '../../type-tests/editors.mjs';
import { writeProject } from '../../type-tests/project/index.mjs';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    runs: { type: 'string', default: '3' },
    completions: { type: 'string', default: '15' },
  },
});

/** What is typed in place of `TYPED`; `|` is the cursor. Completions must have the name. */
const PLACES = [
  { name: 'api.', typed: 'api.|', expected: 'accounts' },
  { name: 'api.module.', typed: 'api.accounts.|', expected: 'create' },
  { name: 'arguments', typed: 'useQuery(api.articles.list, { | })', expected: 'ownerId' },
  { name: 'a field of a result', typed: 'list.data?.[0]?.|', expected: 'title' },
];

const FILE = `import { useQuery } from '@avvos/convoy/react';
import { api } from '../convoy/_generated/api';

export function useTyping(ownerId: \`accountNotes:\${string}\`) {
  const list = useQuery(api.accounts.list, { ownerId });
  TYPED
  return list;
}
`;

const parent = join(root, 'type-tests/.convoy');
await mkdir(parent, { recursive: true });
const folder = await mkdtemp(join(parent, 'bench-'));
const stub = join(folder, 'stub');
const projects = [
  { suffix: '', path: join(folder, 'full'), options: {} },
  { suffix: ', one schema', path: join(folder, 'single'), options: { exportsTables: false } },
];
try {
  for (const { path, options } of projects) await writeProject(path, generateFiles, options);
  await writeProject(stub, generateFiles, { stub: true });
  console.log(`${availableParallelism()} processors\n`);
  if (values.only !== 'completions') await showChecks();
  if (values.only !== 'tsc') await showAllCompletions();
} finally {
  await rm(folder, { recursive: true });
}

async function showChecks() {
  showRow('tsc, in seconds', ['without', 'with types', 'added', 'instantiations', 'TS2589', 'errors']);
  for (const compiler of COMPILERS) {
    for (const args of compiler.single.length > 0 ? [[], compiler.single] : [[]]) {
      const without = [];
      const withTypes = projects.map(() => []);
      for (let run = 0; run < Number(values.runs); run++) {
        without.push(await typeCheck(compiler, stub, args));
        for (const [index, { path }] of projects.entries()) {
          withTypes[index].push(await typeCheck(compiler, path, args));
        }
      }
      for (const [index, { suffix }] of projects.entries()) {
        showRow([compiler.name, ...args].join(' ') + suffix, cellsOf(without, withTypes[index]));
      }
    }
  }
  console.log();
}

function cellsOf(without, withTypes) {
  const least = (checks) => Math.min(...checks.map(({ seconds }) => seconds));
  const [base, whole] = [least(without), least(withTypes)];
  const { instantiations, errors } = withTypes[0];
  const tooDeep = errors.filter((error) => error.includes('TS2589')).length;
  return [base.toFixed(2), whole.toFixed(2), (whole - base).toFixed(2), instantiations, tooDeep, errors.length];
}

async function showAllCompletions() {
  showRow('completions, in milliseconds', ['first', 'median', 'slowest']);
  await showCompletions(COMPILERS[0], TsServer);
  await showCompletions(COMPILERS[1], LanguageServer);
}

async function showCompletions(compiler, Editor) {
  for (const place of PLACES) {
    for (const { suffix, path } of projects) {
      const [first, ...others] = await timesOfCompletions(compiler, Editor, path, place);
      others.sort((one, other) => one - other);
      const times = [first, others[others.length >> 1], others.at(-1)];
      showRow(
        `${compiler.name}: ${place.name}${suffix}`,
        times.map((time) => time.toFixed(0)),
      );
    }
  }
}

async function timesOfCompletions({ name, folder: compiler }, Editor, project, { name: place, typed, expected }) {
  const file = join(project, 'client/Typing.tsx');
  const text = (edit) => FILE.replace('TYPED', `// ${'a'.repeat(edit)}\n  ${typed}`);
  const written = (edit) => text(edit).replace('|', '');
  await writeFile(file, written(0));
  const editor = await Editor.start(compiler, project);
  const times = [];
  try {
    editor.open(file, written(0));
    for (let edit = 0; edit <= Number(values.completions); edit++) {
      if (edit > 0) editor.replace(file, written(edit), written(edit - 1));
      const start = performance.now();
      const names = await editor.complete(file, positionOf(text(edit)));
      times.push(performance.now() - start);
      if (!names.includes(expected)) throw new Error(`${name}, ${place}: no ${expected} in ${names.slice(0, 20)}.`);
    }
  } finally {
    editor.stop();
    await rm(file);
  }
  return times;
}

function showRow(name, cells) {
  console.log(name.padEnd(44) + cells.map((cell) => String(cell).padStart(16)).join(''));
}

function positionOf(text) {
  const before = text.slice(0, text.indexOf('|')).split('\n');
  return { line: before.length - 1, column: before.at(-1).length };
}
