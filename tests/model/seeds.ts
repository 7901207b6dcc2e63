/**
 * The seeds of random tests, as in `crates/convoy-testkit/src/seeds.rs`. A test gets its seed from `withSeeds`, and a
 * control from `controlSeed`. Each file of `tests/regressions/` belongs to one test, and has lines `<size> <seed>`.
 */
import { appendFile, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFailed } from 'vitest';
import { LONG } from './random.js';

const FOLDER = new URL('../regressions/', import.meta.url);
const SIZE = LONG ? 'long' : 'quick';
/** The longest description of a failure that is kept with its seed. */
const MAX_DESCRIPTION = 160;

/**
 * Runs a test with each seed that was kept for it, and then with a new one. The seed of a run that fails is kept, with the
 * first line of the error, also if the run exceeds the time limit of the test. With `CONVOY_TEST_SEED` it runs only with
 * that.
 */
export async function withSeeds(name: string, test: (seed: number) => Promise<void>): Promise<void> {
  const file = fileURLToPath(new URL(`${name}.txt`, FOLDER));
  const kept = seedsOf(await textOf(file));
  const seeds = process.env.CONVOY_TEST_SEED === undefined ? [...kept, newSeed()] : [newSeed()];
  let running: number | null = null;
  const keep = async (error: unknown): Promise<void> => {
    const failed = running;
    // A run that goes on after its test has failed may fail, too.
    running = null;
    if (failed !== null && !kept.includes(failed)) {
      await appendFile(file, `${SIZE} ${failed} # ${describe(error)}\n`);
    }
  };
  // A test that exceeds its time limit fails while the run goes on.
  onTestFailed(({ task }) => keep(task.result?.errors?.[0]));
  for (const seed of seeds) {
    console.log(`${name}: CONVOY_TEST_SEED=${seed} repeats these choices`);
    running = seed;
    try {
      await test(seed);
    } catch (error) {
      await keep(error);
      throw error;
    }
    running = null;
  }
}

/** A seed for a run that must fail, and keeps none. Throws if the running test is no control. */
export function controlSeed(): number {
  const name = expect.getState().currentTestName ?? '';
  if (!/(^|> )control: /.test(name)) {
    throw new Error(`“${name}” is no control, so a seed that fails would be lost. Run it in withSeeds.`);
  }
  return newSeed();
}

/** `CONVOY_TEST_SEED`, or a different one each time. */
function newSeed(): number {
  const seed = process.env.CONVOY_TEST_SEED;
  return seed === undefined ? Date.now() % 2 ** 31 : Number(seed);
}

function describe(error: unknown): string {
  const message = (error as Error | undefined)?.message ?? String(error);
  return (message.split('\n')[0] ?? '').slice(0, MAX_DESCRIPTION);
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

function seedsOf(text: string): number[] {
  const lines = text.split('\n').map((line) => (line.split('#')[0] ?? '').trim().split(/\s+/));
  return lines.filter(([size, seed]) => size === SIZE && seed !== undefined).map(([, seed]) => Number(seed));
}
