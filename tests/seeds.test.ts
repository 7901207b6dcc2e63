/** A seed that fails is kept once, and runs first from then on. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { expect, onTestFinished, test } from 'vitest';
import { LONG } from './model/random.js';
import { withSeeds } from './model/seeds.js';

test('a failing seed is kept once and runs first', async () => {
  const name = `seeds-of-${process.pid}`;
  const file = new URL(`./regressions/${name}.txt`, import.meta.url);
  onTestFinished(() => rm(file, { force: true }));
  await writeFile(file, `# kept\n${LONG ? 'quick' : 'long'} 5\n${LONG ? 'long' : 'quick'} 7 # why\n`);
  const ran: number[] = [];
  const run = (fails: (seed: number) => boolean) =>
    withSeeds(name, async (seed) => {
      ran.push(seed);
      if (fails(seed)) throw new Error('planted');
    });
  await expect(run((seed) => seed !== 7)).rejects.toThrow('planted');
  const [, failed] = ran as [number, number];
  await expect(run((seed) => seed === failed)).rejects.toThrow('planted');
  expect(ran).toEqual([7, failed, 7, failed]);
  expect((await readFile(file, 'utf8')).match(new RegExp(` ${failed}$`, 'gm'))).toHaveLength(1);
});
