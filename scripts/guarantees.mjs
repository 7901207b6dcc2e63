// Runs the acceptance suite at full size, and writes what it has seen into docs/guarantees.md.
//
//   node scripts/guarantees.mjs [--only <regex>] [--quick]
//
// The list of tests is the table of docs/internals/acceptance.md. `--only` selects rows whose test or number
// matches; the results of the others stay. `--quick` is a smoke test of the script itself: it runs the sizes of
// `npm test` in a development build, and writes nothing.
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { acceptanceRows, modulesOf, outcomesOf, resultsTable, seedsIn, withTable } from './acceptance-table.mjs';
import { buildEngine, buildPackage } from './build.mjs';
import { findChromium } from './chromium.mjs';
import { findPgBouncer } from './pgbouncer.mjs';
import { postgresForTests } from './postgres.mjs';
import { root, run, StepError, targetFolder } from './run.mjs';

const { values: options } = parseArgs({
  options: { only: { type: 'string', default: '' }, quick: { type: 'boolean', default: false } },
});
const execute = promisify(execFile);
const page = join(root, 'docs/guarantees.md');
const kept = join(targetFolder, 'guarantees.json');
const PROFILE = options.quick ? 'dev' : 'acceptance';
/** Two hours: no test at full size takes that long, so one that does hangs. */
const TIMEOUT_MS = 7_200_000;

const all = acceptanceRows(await readFile(join(root, 'docs/internals/acceptance.md'), 'utf8'));
const only = new RegExp(options.only);
const rows = all.filter(({ number, test }) => only.test(test) || (options.only !== '' && number === options.only));
if (rows.length === 0) throw new StepError(`No test of docs/internals/acceptance.md matches ${options.only}.`);

await buildPackage();
await buildEngine('dev');
const binaries = await buildRust([...new Set(['acceptance', ...rows.flatMap((row) => row.binaries)])]);
const pooler = await findPgBouncer();
const chromium = await findChromium();
const { stdout: commit } = await execute('git', ['rev-parse', '--short', 'HEAD'], { cwd: root });
const results = new Map(JSON.parse(await readFile(kept, 'utf8').catch(() => '[]')).map((row) => [row.test, row]));
const postgres = await postgresForTests();
let failed = 0;
try {
  const env = {
    ...process.env,
    CONVOY_TEST_DATABASE_URL: postgres.url,
    ...(chromium === undefined ? {} : { CONVOY_TEST_CHROMIUM: chromium }),
    ...(options.quick ? {} : { CONVOY_TEST_LONG: '1' }),
  };
  for (const row of rows) {
    console.log(`\n▸ ${row.number} ${row.what} (${row.test})`);
    const started = performance.now();
    const { text, outcomes } = await runRow(row, env);
    const seconds = Math.round((performance.now() - started) / 1000);
    const seeds = seedsIn(text);
    const result = {
      ...row,
      outcomes,
      seeds,
      seconds,
      at: new Date().toISOString().slice(0, 10),
      commit: commit.trim(),
    };
    const bad = outcomes.filter(({ passed }) => !passed);
    failed += bad.length + (outcomes.length === 0 ? 1 : 0);
    for (const { name } of bad) console.log(`  ✗ ${name}`);
    if (outcomes.length === 0) console.log('  ✗ no test ran');
    console.log(
      `  ${outcomes.length - bad.length} of ${outcomes.length} passed in ${seconds} s, seeds ${seeds.join(', ')}`,
    );
    results.set(row.test, result);
    if (!options.quick) await keep();
  }
} finally {
  await postgres.stop();
}
if (failed > 0) throw new StepError(`${failed} tests of the acceptance suite failed.`);
console.log('\n✓ The acceptance suite passed.');

/** Writes the results so far: a long run may be interrupted. */
async function keep() {
  const found = all.flatMap(({ test }) => results.get(test) ?? []);
  await mkdir(dirname(kept), { recursive: true });
  await writeFile(kept, JSON.stringify(found));
  await writeFile(page, withTable(await readFile(page, 'utf8'), resultsTable(found)));
}

/** Builds these tests of the engine, and returns their programs by name. */
async function buildRust(names) {
  const tests = names.flatMap((name) => ['--test', name]);
  const args = ['test', '--locked', '--workspace', ...tests, '--profile', PROFILE, '--no-run'];
  await run(`Building the acceptance suite (${PROFILE})`, 'cargo', args);
  const { stdout } = await execute('cargo', [...args, '--message-format', 'json'], { cwd: root, maxBuffer: 2 ** 28 });
  const messages = stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
  const built = messages
    .filter(({ executable }) => executable)
    .map(({ target, executable }) => [target.name, executable]);
  const programs = new Map(built);
  for (const name of names) {
    if (!programs.has(name)) throw new StepError(`cargo names no program of the tests ${name}.`);
  }
  return programs;
}

/** Runs the tests of a row; returns what they printed, and which passed. */
async function runRow(row, env) {
  const { include, skip } = modulesOf(row, all);
  let text = '';
  const outcomes = [];
  const skipped = [...skip, ...(pooler === undefined ? ['pooler'] : [])].flatMap((name) => ['--skip', name]);
  const ofSuite = include.map((module) => ['acceptance', [`${module}::`]]);
  for (const [name, filter] of [...ofSuite, ...row.binaries.map((name) => [name, []])]) {
    const ran = await output(binaries.get(name), [...filter, ...skipped, '--test-threads', '1'], env);
    text += ran;
    outcomes.push(...outcomesOf(ran));
  }
  if (row.files.length > 0) {
    const folder = await mkdtemp(join(tmpdir(), 'convoy-guarantees-'));
    const file = join(folder, 'results.json');
    const args = ['vitest', 'run', ...row.files, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    text += await output('npx', args, env);
    const { testResults } = JSON.parse(await readFile(file, 'utf8'));
    await rm(folder, { recursive: true });
    for (const { fullName, status } of testResults.flatMap(({ assertionResults }) => assertionResults)) {
      if (status === 'passed' || status === 'failed') outcomes.push({ name: fullName, passed: status === 'passed' });
    }
  }
  return { text, outcomes };
}

/** Runs a program, and returns what it has printed. */
async function output(command, args, env) {
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      text += chunk;
    });
  }
  await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const log = join(targetFolder, 'guarantees.log');
  await writeFile(log, text, { flag: 'a' });
  return text;
}
