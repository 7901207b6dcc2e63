// Runs the tests that talk to Postgres on each of its versions, and those that depend on Node on each of its.
//
//   npm run test:versions                                  every version, one after another; some hours
//   npm run test:versions -- --postgres 14 --postgres 15   these
//   npm run test:versions -- --postgres 14 --only rust     those in one language; the other is typescript
//   npm run test:versions -- --node 24 -- workers          matching tests: Rust by name, TypeScript by path or name
//
// On each Postgres: the Rust tests `engine`, `acceptance` and `faults`, and the files of tests/ that use it. On each Node:
// the unit tests of js/, and the same files. They are installed by npm below target/versions; Debian's Postgres 15 is
// preferred where it is installed.
import { readdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { buildEngine, buildPackage } from './build.mjs';
import { findPgBouncer } from './pgbouncer.mjs';
import { postgresForTests, startThrowAwayPostgres } from './postgres.mjs';
import { root, StepError } from './run.mjs';
import { rustFiles, typeScriptFiles } from './test-files.mjs';
import { runCargo, runVitest } from './test-runs.mjs';
import { namePattern, selectRust, selectTypeScript } from './test-selection.mjs';
import { installNode, installPostgres } from './test-versions-install.mjs';
import { planOf, tableOf, thoseThatUsePostgres } from './versions.mjs';

const plan = readPlan();
const threads = { RUST_TEST_THREADS: String(Math.min(availableParallelism() + 1, 16)) };
await buildPackage();
await buildEngine('dev');
const pooler = plan.postgres.length > 0 ? await findPgBouncer() : undefined;
const files = await typeScriptFiles();
const usePostgres = thoseThatUsePostgres(
  files.map(({ path }) => path),
  await textsOfTests(),
);

/** @type {({ on: string, tests: string } & import('./versions.mjs').Counts)[]} */
const rows = [];
for (const major of plan.postgres) await testPostgres(major);
if (plan.node.length > 0) {
  const postgres = await postgresForTests();
  try {
    for (const major of plan.node) await testNode(major, postgres.url);
  } finally {
    await postgres.stop();
  }
}
console.log(`\n${tableOf(rows)}`);
if (rows.every(({ passed, failed }) => passed + failed === 0)) throw new StepError('No test was run.');
process.exitCode = rows.every(({ succeeded }) => succeeded) ? 0 : 1;

function readPlan() {
  try {
    return planOf(process.argv.slice(2));
  } catch (error) {
    throw new StepError(error.message);
  }
}

async function testPostgres(major) {
  const { folder, name } = await installPostgres(major);
  console.log(`\n▸ Starting a throw-away ${name}`);
  const postgres = await startThrowAwayPostgres({ installedIn: folder });
  const env = { CONVOY_TEST_DATABASE_URL: postgres.url, CONVOY_TEST_POSTGRES_FOLDER: folder, ...threads };
  try {
    const rust = await rustTargets();
    if (rust !== null) rows.push({ on: name, tests: 'Rust', ...(await runCargo(`Rust tests on ${name}`, rust, env)) });
    await testTypeScript(name, usePostgres, { env });
  } finally {
    await postgres.stop();
  }
}

async function testNode(major, databaseUrl) {
  const { program, name } = await installNode(major);
  const path = [dirname(program), process.env.PATH].join(delimiter);
  const env = { CONVOY_TEST_DATABASE_URL: databaseUrl, PATH: path };
  const units = files.map((each) => each.path).filter((each) => each.startsWith('js/'));
  await testTypeScript(name, [...units, ...usePostgres], { env, node: program });
}

/** What `cargo test` gets; null if no test matches. */
async function rustTargets() {
  if (!plan.languages.includes('rust')) return null;
  const without = pooler === undefined ? ['--skip', 'pooler'] : [];
  if (plan.filters.length === 0)
    return ['--workspace', '--test=engine', '--test=acceptance', '--test=faults', '--', ...without];
  const { packages, targets } = selectRust(await rustFiles(), plan.filters);
  if (targets.length === 0) return null;
  return [...packages.flatMap((each) => ['--package', each]), ...targets, '--', ...plan.filters, ...without];
}

async function testTypeScript(on, paths, how) {
  if (!plan.languages.includes('typescript')) return;
  const { whole, named } = matching(paths);
  const runs = [
    { tests: 'TypeScript', files: whole, which: [] },
    { tests: 'TypeScript, by name', files: named, which: ['-t', namePattern(plan.filters)] },
  ];
  for (const { tests, ...what } of runs) {
    if (what.files.length > 0) rows.push({ on, tests, ...(await runVitest(`${tests} on ${on}`, what, how)) });
  }
}

function matching(paths) {
  if (plan.filters.length === 0) return { whole: paths, named: [] };
  return selectTypeScript(
    files.filter(({ path }) => paths.includes(path)),
    plan.filters,
  );
}

/** The sources below tests/ by path, without those of its packages. */
async function textsOfTests() {
  const names = await readdir(join(root, 'tests'), { recursive: true });
  const sources = names.filter((name) => /\.(ts|mjs)$/.test(name) && !name.includes('node_modules'));
  const entries = sources.map(async (name) => [`tests/${name}`, await readFile(join(root, 'tests', name), 'utf8')]);
  return new Map(await Promise.all(entries));
}
