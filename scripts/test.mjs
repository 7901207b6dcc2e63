// Runs the tests on a machine with only Rust and Node: builds their dependencies,
// starts a throw-away Postgres, and runs every lane against it.
//
//   npm test                 all, in the quick lane
//   npm test -- <filter>...  matching tests: Rust by name, TypeScript by path or name
//   npm run test:long        all at full size: CONVOY_TEST_LONG=1, and more cases of properties
//
// In the quick lane random tests make fewer steps, and tests that install much or wait
// long are left out where a smaller one shows the same.
import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs, promisify } from 'node:util';
import { buildEngine, buildPackage } from './build.mjs';
import { findChromium } from './chromium.mjs';
import { fuzz } from './fuzz.mjs';
import { findPgBouncer } from './pgbouncer.mjs';
import { postgresForTests } from './postgres.mjs';
import { root, run, StepError } from './run.mjs';
import { rustFiles, typeScriptFiles } from './test-files.mjs';
import { runVitest as countVitest } from './test-runs.mjs';
import { namePattern, needsChromium, needsEngine, selectRust, selectTypeScript } from './test-selection.mjs';

const { values, positionals: filters } = parseArgs({
  options: { long: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const long = values.long ? { CONVOY_TEST_LONG: '1', PROPTEST_CASES: '5000' } : {};
/** More tests than cores, since many wait for a limit; not too many for the connections of Postgres. */
const threads = { RUST_TEST_THREADS: String(Math.min(availableParallelism() + 1, 16)) };

await buildPackage();
if (filters.length === 0) await runAll();
else await runMatching();

async function runAll() {
  await buildEngine('dev');
  const chromium = await findChromium();
  const pooler = await findPgBouncer();
  await withPostgres(async (env) => {
    const skipped = pooler === undefined ? ['--', '--skip', 'pooler'] : [];
    await run('Rust tests', 'cargo', ['test', '--locked', '--workspace', '--no-fail-fast', '--quiet', ...skipped], {
      env,
    });
    await run('Type tests', 'npx', ['tsc', '--noEmit', '-p', 'js/convoy/tsconfig.test.json']);
    const excluded = chromium === undefined ? ['--exclude', '**/*.browser.test.*'] : [];
    const browser = chromium === undefined ? {} : { CONVOY_TEST_CHROMIUM: chromium };
    await run('TypeScript tests', 'npx', ['vitest', 'run', ...excluded], { env: { ...env, ...browser } });
  });
  if (values.long) await fuzz({ minutes: 10, targets: [] });
  console.log('\n✓ All tests passed.');
}

async function runMatching() {
  const description = filters.map((filter) => `"${filter}"`).join(' or ');
  const rust = selectRust(await rustFiles(), filters);
  const files = await typeScriptFiles();
  const chosen = selectTypeScript(files, filters);
  const paths = [...chosen.whole, ...chosen.named];
  const chosenFiles = files.filter(({ path }) => paths.includes(path));

  const pooler = rust.pooler > 0 ? await findPgBouncer() : undefined;
  const chromium = paths.some((path) => needsChromium.test(path)) ? await findChromium() : undefined;
  const isRunnable = (path) => chromium !== undefined || !needsChromium.test(path);
  const browser = chromium === undefined ? {} : { CONVOY_TEST_CHROMIUM: chromium };
  const inRust = (pooler === undefined ? 0 : rust.pooler) + rust.others > 0;
  if (needsEngine(chosenFiles)) await buildEngine('dev');

  let ran = 0;
  const lanes = async (env) => {
    const tests = inRust ? await runRust(rust, { env, skipped: pooler === undefined ? ['--skip', 'pooler'] : [] }) : 0;
    if (tests === 0) console.log(`\n▸ No Rust test to run: none has ${description} in its name`);
    const typeScript = { env: { ...env, ...browser }, pattern: namePattern(filters) };
    const whole = await runVitest(chosen.whole.filter(isRunnable), typeScript.env);
    const named = await runVitest(chosen.named.filter(isRunnable), typeScript.env, ['-t', typeScript.pattern]);
    if (whole + named === 0) console.log(`\n▸ No TypeScript test to run: none has ${description} in its path or name`);
    ran = tests + whole + named;
  };
  const needsPostgres = inRust || paths.some((path) => path.startsWith('tests/'));
  await (needsPostgres ? withPostgres(lanes) : lanes(long));
  if (ran === 0) throw new StepError(`No test was run for ${description}.`);
  console.log(`\n✓ All ${ran} tests that match ${description} passed.`);
}

/** Runs the matching tests of these targets; returns their number. */
async function runRust({ packages, targets }, { env, skipped }) {
  const cargo = ['test', '--locked', ...packages.flatMap((each) => ['--package', each]), ...targets];
  await run('Building the Rust tests', 'cargo', [...cargo, '--no-run']);
  const list = [...cargo, '--quiet', '--', ...filters, ...skipped, '--list', '--format', 'terse'];
  const { stdout } = await promisify(execFile)('cargo', list, { cwd: root, maxBuffer: 2 ** 26 });
  const count = stdout.split('\n').filter((line) => line.endsWith(': test')).length;
  if (count > 0) await run('Rust tests', 'cargo', [...cargo, '--', ...filters, ...skipped], { env });
  return count;
}

/** Runs tests of these files; returns their number. */
async function runVitest(files, env, which = []) {
  if (files.length === 0) return 0;
  const { passed, succeeded } = await countVitest('TypeScript tests', { files, which }, { env });
  if (!succeeded) throw new StepError('TypeScript tests failed.');
  return passed;
}

async function withPostgres(lanes) {
  const postgres = await postgresForTests();
  try {
    await lanes({ CONVOY_TEST_DATABASE_URL: postgres.url, ...threads, ...long });
  } finally {
    await postgres.stop();
  }
}
