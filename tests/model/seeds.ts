/**
 * Seeds that have failed, as in `crates/convoy-testkit/src/seeds.rs`: each file of `tests/regressions/` belongs to one
 * test, and has lines `<size> <seed>`.
 */
import { appendFile, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { LONG, seedOfThisRun } from './random.js';

const FOLDER = new URL('../regressions/', import.meta.url);
const SIZE = LONG ? 'long' : 'quick';

/**
 * Runs a test with each seed that was kept for it, and then with a new one, which is kept if the test fails. With
 * `CONVOY_TEST_SEED` it runs only with that.
 */
export async function withSeeds(name: string, test: (seed: number) => Promise<void>): Promise<void> {
  const file = fileURLToPath(new URL(`${name}.txt`, FOLDER));
  const kept = seedsOf(await textOf(file));
  const fresh = seedOfThisRun();
  const seeds = process.env.CONVOY_TEST_SEED === undefined ? [...kept, fresh] : [fresh];
  for (const seed of seeds) {
    try {
      await test(seed);
    } catch (error) {
      if (!kept.includes(seed)) await appendFile(file, `${SIZE} ${seed}\n`);
      throw error;
    }
  }
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
