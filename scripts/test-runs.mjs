// Runs tests and counts them. A test that fails is counted, and does not end the script.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run, StepError } from './run.mjs';
import { countsOfCargo, countsOfVitest } from './versions.mjs';

/**
 * @param {string} title
 * @param {string[]} targets what `cargo test` gets
 * @param {Record<string, string>} env
 */
export async function runCargo(title, targets, env) {
  let output = '';
  const onOutput = (text) => {
    output += text;
  };
  const args = ['test', '--locked', '--no-fail-fast', '--quiet', ...targets];
  const succeeded = await succeeds(() => run(title, 'cargo', args, { env, onOutput }));
  return countsOfCargo(output, succeeded);
}

/**
 * @param {string} title
 * @param {{ files: string[], which?: string[] }} what `which` are options of Vitest
 * @param {{ env?: Record<string, string>, node?: string }} [how] `node` is the program that runs them
 */
export async function runVitest(title, { files, which = [] }, { env, node = process.execPath } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'convoy-tests-'));
  try {
    const results = join(folder, 'results.json');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${results}`];
    const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...reporters];
    const succeeded = await succeeds(() => run(title, node, [...vitest, ...which, ...files], { env }));
    return countsOfVitest(JSON.parse(await readFile(results, 'utf8')), succeeded);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function succeeds(step) {
  try {
    await step();
    return true;
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    console.log(`\n✗ ${error.message}`);
    return false;
  }
}
