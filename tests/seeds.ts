/**
 * Seeds of random tests. One that fails is kept in `tests/regressions/`, and from then on runs before a new one. A seed
 * says nothing about a run of another size, so those of quick and of long runs are apart.
 */
import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { LONG, seedOfThisRun } from './model/random.js';

const FOLDER = new URL('./regressions/', import.meta.url);
const SIZE = LONG ? 'long' : 'quick';

/** Runs `test` with each seed that was kept under `name`, then with a new one, which is kept if it fails. */
export async function withSeeds(name: string, test: (seed: number) => Promise<void>): Promise<void> {
  const file = new URL(`${name}.txt`, FOLDER);
  const kept = await keptIn(file);
  const seeds = process.env.CONVOY_TEST_SEED === undefined ? [...kept, seedOfThisRun()] : [seedOfThisRun()];
  for (const seed of seeds) {
    console.log(`${name}: CONVOY_TEST_SEED=${seed} makes the same choices`);
    try {
      await test(seed);
    } catch (error) {
      if (!kept.includes(seed)) {
        await mkdir(FOLDER, { recursive: true });
        await appendFile(file, `${SIZE} ${seed}\n`);
      }
      throw error;
    }
  }
}

async function keptIn(file: URL): Promise<number[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  return lines.filter((line) => line.startsWith(`${SIZE} `)).map((line) => Number(line.slice(SIZE.length)));
}
