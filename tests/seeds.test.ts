/** A seed that fails is kept once, and runs first from then on; every random test has its seed from there. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';

const SIZE = LONG ? 'long' : 'quick';
const fileOf = (name: string) => new URL(`./regressions/${name}.txt`, import.meta.url);

test('a failing seed is kept once and runs first', async () => {
  const name = `seeds-of-${process.pid}`;
  const file = fileOf(name);
  onTestFinished(() => rm(file, { force: true }));
  await writeFile(file, `# kept\n${LONG ? 'quick' : 'long'} 5\n${SIZE} 7 # why\n`);
  const ran: number[] = [];
  const run = (fails: (seed: number) => boolean) =>
    withSeeds(name, async (seed) => {
      ran.push(seed);
      if (fails(seed)) throw new Error('planted\nin two lines');
    });
  await expect(run((seed) => seed !== 7)).rejects.toThrow('planted');
  const [, failed] = ran as [number, number];
  await expect(run((seed) => seed === failed)).rejects.toThrow('planted');
  expect(ran).toEqual([7, failed, 7, failed]);
  expect((await readFile(file, 'utf8')).match(new RegExp(` ${failed} # planted$`, 'gm'))).toHaveLength(1);
});

describe('the seed of a run that hangs', () => {
  const name = `seeds-of-hangs-${process.pid}`;

  let end = (_error: Error) => {};
  let ended: Promise<unknown> = Promise.resolve();

  test.fails('is in a test that exceeds its time limit', { timeout: 100 }, async () => {
    const hanging = new Promise<void>((_resolve, reject) => (end = reject));
    const running = withSeeds(name, () => hanging);
    ended = running.catch(() => {});
    await running;
  });

  test('is kept as well, once', async () => {
    const file = fileOf(name);
    onTestFinished(() => rm(file, { force: true }));
    end(new Error('its server was closed'));
    await ended;
    expect(await readFile(file, 'utf8')).toMatch(new RegExp(`^${SIZE} \\d+ # Test timed out in 100ms\\.\n$`));
  });
});

test('only a control has a seed that is not kept', () => {
  expect(() => controlSeed()).toThrow('is no control');
});

test('control: this one has', () => {
  expect(controlSeed()).toBeGreaterThanOrEqual(0);
});

/** What a test makes its choices from that would not be kept if it failed. */
function unkeptSeeds(text: string): string[] {
  const own = [/process\.env\.CONVOY_TEST_SEED/, /new Random\([^)]*(?:Math\.random|Date\.now)/, /Math\.random\(\) \*/];
  const found = own.flatMap((pattern) => pattern.exec(text)?.[0] ?? []);
  if (/new Random\(/.test(text) && !/\bwithSeeds\(/.test(text)) found.push('new Random(…) without withSeeds');
  return found;
}

describe('every random test', () => {
  test('has its seed from withSeeds', async () => {
    const names = await readdir(import.meta.dirname, { recursive: true });
    const tests = names.filter((name) => /\.test\.(ts|mjs)$/.test(name) && !name.includes('node_modules'));
    let random = 0;
    const found: Record<string, string[]> = {};
    for (const name of tests) {
      const text = await readFile(join(import.meta.dirname, name), 'utf8');
      if (/\bwithSeeds\(/.test(text)) random += 1;
      const unkept = name === 'seeds.test.ts' ? [] : unkeptSeeds(text);
      if (unkept.length > 0) found[name] = unkept;
    }
    expect(found).toEqual({});
    expect(random).toBeGreaterThan(15);
  });

  test.each([
    'const random = new Random(7);',
    "const seed = Number(process.env.CONVOY_TEST_SEED);\nawait withSeeds('x', run);",
    "const random = new Random(Date.now());\nawait withSeeds('x', run);",
    'const seed = Math.floor(Math.random() * 2 ** 31);',
  ])('otherwise is found: %j', (text) => {
    expect(unkeptSeeds(text)).not.toEqual([]);
  });

  test('makes the same choices from the same seed', () => {
    const choices = (seed: number) =>
      Array.from(
        { length: 100 },
        (
          (random) => () =>
            random.below(1_000)
        )(new Random(seed)),
      );
    expect(choices(5)).toEqual(choices(5));
    expect(choices(5)).not.toEqual(choices(6));
  });
});
