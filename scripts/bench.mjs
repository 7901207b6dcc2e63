// Measures Convoy beside Fastify + pg and node:http + postgres.js; see tests/bench/main.mjs.
//
//   node scripts/bench.mjs [--quick] [--only <regex>] [--docs]
//   node scripts/bench.mjs --against <commit> [--quick] [--only <regex>] [--pairs <number>]
//   node scripts/bench.mjs --relational [--quick] [--only <regex>] [--pairs <number>] [--seconds <number>]
//   node scripts/bench.mjs --strategies [--only <regex>]
//   node scripts/bench.mjs --telemetry [--only <regex>]
//   node scripts/bench.mjs --interference [--only <regex>]
//
// `--quick` is a smoke test of a few seconds: it checks that the benchmark works and
// that its invariants hold, and so uses the development build that tests have made
// already. `--only` selects the workloads whose names match. `--docs` writes the curve
// of live queries into the documentation. `--against` compares this tree with another
// commit instead; see tests/bench/against.mjs. `--relational` compares with servers on
// relational tables, and prints Markdown; see tests/bench/relational.mjs. `--strategies`
// measures the effect of each execution strategy of mutations; see
// tests/bench/strategies.mjs. `--telemetry` measures the cost of metrics and traces; see
// tests/bench/telemetry.mjs. `--interference` measures the cost of slow readers for
// others; see tests/bench/interference.mjs. `--pairs` is the number of rounds of a
// comparison.
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPackage } from './build.mjs';
import { prepareCommit } from './other-commit.mjs';
import { platform } from './platform.mjs';
import { root, run, StepError, targetFolder } from './run.mjs';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    docs: { type: 'boolean', default: false },
    against: { type: 'string' },
    pairs: { type: 'string' },
    seconds: { type: 'string' },
    relational: { type: 'boolean', default: false },
    strategies: { type: 'boolean', default: false },
    telemetry: { type: 'boolean', default: false },
    interference: { type: 'boolean', default: false },
  },
});
if (values.quick && values.docs) throw new StepError('--docs publishes speeds, which --quick does not measure.');
if (values.seconds !== undefined && !values.relational) throw new StepError('--seconds belongs to --relational.');
const profile = values.quick ? 'dev' : 'release';
const built = join(targetFolder, profile === 'dev' ? 'debug' : profile);

// First, because both engines are built in the same target folder, and copied from there.
const other =
  values.against === undefined ? undefined : await prepareCommit(values.against, { target: targetFolder, profile });
await buildPackage();
// Two builds, because feature unification in one build would enable features of the
// generator in the engine.
const cargo = (...what) => ['build', '--locked', '--profile', profile, ...what];
// Only a build with failpoints can leave a strategy out.
const features = values.strategies ? ['--features', 'failpoints'] : [];
await run(`Building the engine (${profile})`, 'cargo', cargo('--package', 'convoy-node', ...features));
await run(`Building the load generator (${profile})`, 'cargo', cargo('--package', 'convoy-testkit', '--bins'));

// A separate copy: the addon under npm/ is a development build during development.
const folder = join(targetFolder, 'bench');
const addon = join(folder, `convoy-${profile}.node`);
await mkdir(folder, { recursive: true });
await copyFile(join(built, platform().library), addon);

const generator = join(built, process.platform === 'win32' ? 'load.exe' : 'load');
if (values.strategies) await measureStrategies();
else if (values.relational) await measureRelational();
else if (values.telemetry) await measureSets('telemetry');
else if (values.interference) await measureSets('interference');
else if (other === undefined) await measureBesideOthers();
else await measureBesideCommit(other);

async function measureStrategies() {
  const args = ['--generator', generator, '--delay', join(built, 'delay')];
  args.push('--results', join(folder, 'strategies.json'));
  if (values.only !== '') args.push('--only', values.only);
  if (values.pairs !== undefined) args.push('--rounds', values.pairs);
  await measure(['tests/bench/strategies.mjs', ...args]);
}

/** @param {'telemetry' | 'interference'} name */
async function measureSets(name) {
  const args = ['--generator', generator, '--results', join(folder, `${name}.json`)];
  if (values.only !== '') args.push('--only', values.only);
  if (values.pairs !== undefined) args.push('--rounds', values.pairs);
  await measure([`tests/bench/${name}.mjs`, ...args]);
}

async function measureRelational() {
  const args = ['--generator', generator, '--engine', profile];
  args.push('--results', join(folder, values.quick ? 'relational-quick.json' : 'relational.json'));
  if (values.only !== '') args.push('--only', values.only);
  if (values.pairs !== undefined) args.push('--rounds', values.pairs);
  if (values.seconds !== undefined) args.push('--seconds', values.seconds);
  if (values.quick) args.push('--quick');
  await measure(['tests/bench/relational.mjs', ...args]);
}

async function measureBesideOthers() {
  const results = join(folder, values.quick ? 'quick.json' : 'results.json');
  const drawn = join(folder, values.quick ? 'quick-curve.svg' : 'live-curve.svg');
  const curve = values.docs ? join(root, 'docs/live-curve.svg') : drawn;
  const args = ['--generator', generator, '--results', results, '--curve', curve, '--engine', profile];
  args.push('--only', values.only);
  if (values.quick) args.push('--quick');
  await measure(['tests/bench/main.mjs', ...args]);
}

async function measureBesideCommit({ tree, addon: otherAddon, name }) {
  const args = ['--generator', generator, '--results', join(folder, `against-${name}.json`)];
  args.push('--other', tree, '--other-engine', otherAddon, '--commit', name);
  if (values.only !== '') args.push('--only', values.only);
  if (values.pairs !== undefined) args.push('--pairs', values.pairs);
  if (values.quick) args.push('--quick');
  await measure(['tests/bench/against.mjs', ...args]);
}

function measure(args) {
  return run('Measuring', process.execPath, args, { env: { CONVOY_NATIVE_PATH: addon } });
}
