// Runs the fuzz targets in crates/convoy/fuzz one after the other, by cargo-fuzz.
//
//   node scripts/fuzz.mjs [--minutes <n>] [target...]
//
// Without a sanitizer, since there is no unsafe code in the engine; so the stable compiler of
// the repository can build them. First a target with a planted mistake must fail, in seconds.
// An input that fails is kept in the corpus, where `cargo test` runs it.
import { copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { cratesPackage, debianPackage, findProgram, obtainProgram, toolsFolder } from './packages.mjs';
import { root, run, StepError, targetFolder } from './run.mjs';

const version = '0.13.2';
const folder = join(root, 'crates/convoy/fuzz');

/** Runs the targets for `minutes` each. */
export async function fuzz({ minutes, targets }) {
  const cargoFuzz = await obtainProgram({
    name: 'cargo-fuzz',
    for: 'Fuzz targets',
    skipped: 'Fuzz targets',
    installer: cratesPackage('cargo-fuzz', version),
    advice: `Install it: cargo install cargo-fuzz --version ${version} --locked`,
    search: () => findProgram(['cargo-fuzz'], { elsewhere: [join(toolsFolder, 'bin')] }),
  });
  if (cargoFuzz === undefined) return;
  const compiler = await obtainProgram({
    name: 'a C++ compiler',
    for: 'Fuzz targets',
    skipped: 'Fuzz targets',
    installer: debianPackage('g++'),
    advice: 'Install g++ or clang.',
    search: () => findProgram(['c++', 'g++', 'clang++']),
  });
  if (compiler === undefined) return;

  const all = (await readdir(join(folder, 'fuzz_targets'))).map((file) => basename(file, '.rs')).sort();
  const unknown = targets.filter((each) => !all.includes(each));
  if (unknown.length > 0)
    throw new StepError(`There is no fuzz target ${unknown.join(', ')}; they are ${all.join(', ')}.`);
  const env = { CARGO_TARGET_DIR: join(targetFolder, 'fuzz') };
  const cargo = (label, args, more = {}) => run(label, cargoFuzz, args, { cwd: folder, env: { ...env, ...more } });
  await cargo('Building the fuzz targets', ['build', '--sanitizer', 'none']);

  const found = await mkdtemp(join(tmpdir(), 'convoy-fuzz-'));
  try {
    await expectControl(cargo, found);
    for (const target of targets.length > 0 ? targets : all) await runTarget(cargo, { target, minutes, found });
  } finally {
    await rm(found, { recursive: true });
  }
}

/** Fails unless the planted mistake is found. */
async function expectControl(cargo, found) {
  const control = join(found, 'control');
  await mkdir(control);
  const options = ['-max_total_time=60', `-artifact_prefix=${control}/`];
  const args = ['run', '--sanitizer', 'none', 'arguments', control, '--', ...options];
  const isFound = await cargo('The control: a planted mistake', args, { CONVOY_FUZZ_CONTROL: '1' }).then(
    () => false,
    async () => (await readdir(control)).some((file) => file.startsWith('crash-')),
  );
  if (!isFound) throw new StepError('The fuzzer has not found the planted mistake, so it finds nothing.');
}

/** New inputs go to a folder that is removed; only one that fails is kept. */
async function runTarget(cargo, { target, minutes, found }) {
  const inputs = join(found, target);
  await mkdir(inputs);
  const seconds = Math.round(minutes * 60);
  const options = [`-max_total_time=${seconds}`, '-max_len=4096', '-timeout=10', `-artifact_prefix=${inputs}-`];
  const args = ['run', '--sanitizer', 'none', target, inputs, `corpus/${target}`, '--', ...options];
  try {
    await cargo(`Fuzzing ${target} for ${minutes} minutes`, args);
  } catch (error) {
    const failing = (await readdir(found)).filter((file) => file.startsWith(`${target}-`));
    for (const file of failing)
      await copyFile(join(found, file), join(folder, 'corpus', target, file.slice(target.length + 1)));
    throw new StepError(
      `${error.message}\nThe input is kept in crates/convoy/fuzz/corpus/${target}: ${failing.join(', ')}`,
    );
  }
}

if (process.argv[1] === import.meta.filename) {
  const { values, positionals } = parseArgs({
    options: { minutes: { type: 'string', default: '10' } },
    allowPositionals: true,
  });
  await fuzz({ minutes: Number(values.minutes), targets: positionals });
}
