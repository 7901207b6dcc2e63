// Measures Convoy beside Fastify + pg and node:http + postgres.js; see tests/bench/main.mjs.
//
//   node scripts/bench.mjs [--quick] [--only <regex>] [--docs]
//
// `--quick` only shows, in seconds, that the benchmark works and its promises
// hold, and so takes the development build that tests have made already. `--only`
// takes the workloads whose names match. `--docs` puts the curve of live queries
// where the documentation shows it.
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPackage } from './build.mjs';
import { platform } from './platform.mjs';
import { root, run, StepError } from './run.mjs';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    docs: { type: 'boolean', default: false },
  },
});
if (values.quick && values.docs) throw new StepError('--docs shows speeds, and --quick measures none.');
const profile = values.quick ? 'dev' : 'release';
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const built = join(target, profile === 'dev' ? 'debug' : profile);

await buildPackage();
// Two builds, because one would give the engine whatever features of its
// dependencies the generator needs.
const cargo = (...what) => ['build', '--locked', '--profile', profile, ...what];
await run(`Building the engine (${profile})`, 'cargo', cargo('--package', 'convoy-node'));
await run(`Building the load generator (${profile})`, 'cargo', cargo('--package', 'convoy-testkit', '--bin', 'load'));

// A copy of its own: the addon under npm/ is a development build while one works.
const folder = join(target, 'bench');
const addon = join(folder, `convoy-${profile}.node`);
await mkdir(folder, { recursive: true });
await copyFile(join(built, platform().library), addon);

const results = join(folder, values.quick ? 'quick.json' : 'results.json');
const generator = join(built, process.platform === 'win32' ? 'load.exe' : 'load');
const drawn = join(folder, values.quick ? 'quick-curve.svg' : 'live-curve.svg');
const curve = values.docs ? join(root, 'docs/live-curve.svg') : drawn;
const args = [
  '--generator',
  generator,
  '--results',
  results,
  '--curve',
  curve,
  '--engine',
  profile,
  '--only',
  values.only,
];
if (values.quick) args.push('--quick');
await run('Measuring', process.execPath, ['tests/bench/main.mjs', ...args], {
  env: { CONVOY_NATIVE_PATH: addon },
});
