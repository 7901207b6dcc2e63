import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { QueryWatch, untrackedNow } from './query-watch.js';

const globals = () => ({
  Date: globalThis.Date,
  now: Date.now,
  random: Math.random,
  fetch: globalThis.fetch,
  uuid: Crypto.prototype.randomUUID,
  values: Crypto.prototype.getRandomValues,
});
const untouched = globals();

const warnings: string[] = [];
let watch: QueryWatch;
let observed: { isPure: boolean };
beforeEach(() => {
  warnings.length = 0;
  observed = { isPure: true };
  watch = new QueryWatch((message) => warnings.push(message));
});
afterEach(() => {
  watch.close();
  expect(globals()).toEqual(untouched);
  expect(new Date(0).constructor).toBe(untouched.Date);
});

describe('a watched query', () => {
  it.each<[string, () => unknown, string]>([
    ['Date.now()', () => Date.now(), 'ctx.now'],
    ['new Date()', () => new Date(), 'ctx.now'],
    ['Date()', () => Date(), 'ctx.now'],
    ['Math.random()', () => Math.random(), 'mutation'],
    ['fetch()', () => fetch('data:,hello'), 'action'],
    ['crypto.randomUUID()', () => crypto.randomUUID(), 'mutation'],
    ['crypto.getRandomValues()', () => crypto.getRandomValues(new Uint8Array(1)), 'mutation'],
  ])('that calls %s causes a warning with the alternative and the location', (_, handler, alternative) => {
    watch.run('messages.list', observed, handler);
    expect(warnings).toEqual([expect.stringContaining('the query messages.list calls')]);
    expect(warnings[0]).toContain(alternative);
    expect(warnings[0]).toContain('query-watch.test.ts');
    expect(observed.isPure).toBe(false);
  });

  it('is reported once, also for a later call, until other code is loaded', async () => {
    const handler = async () => {
      await null;
      return [Date.now(), Date.now()];
    };
    await watch.run('messages.list', observed, handler);
    await watch.run('messages.list', observed, handler);
    expect(warnings).toHaveLength(1);
    await watch.run('messages.other', observed, handler);
    expect(warnings).toHaveLength(2);
    watch.reset();
    await watch.run('messages.list', observed, handler);
    expect(warnings).toHaveLength(3);
  });

  it('may create dates of given times, and call ctx.now', () => {
    watch.run('messages.list', observed, () => [
      new Date(0),
      new Date('2020-01-01'),
      Date.parse('2020-01-01'),
      untrackedNow(),
    ]);
    expect(warnings).toEqual([]);
    expect(observed.isPure).toBe(true);
  });

  it('is impure also after an await and in code that it calls, and another one beside it is not', async () => {
    const production = new QueryWatch();
    const other = { isPure: true };
    const helper = async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return Math.random();
    };
    const beside = async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      await null;
      return new Date(0);
    };
    await Promise.all([production.run('a', observed, helper), production.run('b', other, beside), helper()]);
    expect([observed.isPure, other.isPure]).toEqual([false, true]);
    expect(warnings).toEqual([]);
    production.close();
  });
});

it('is impure wherever a source cannot be replaced', () => {
  const descriptor = Object.getOwnPropertyDescriptor(Math, 'random') as PropertyDescriptor;
  Object.defineProperty(Math, 'random', { get: () => untouched.random, configurable: true });
  watch.run('messages.list', observed, () => null);
  expect(observed.isPure).toBe(false);
  watch.close();
  Object.defineProperty(Math, 'random', descriptor);
});

describe('other code', () => {
  it('causes no warnings, and its globals behave as before', async () => {
    const before = untouched.now.call(Date);
    expect(Date.now()).toBeGreaterThanOrEqual(before);
    expect(new Date()).toBeInstanceOf(Date);
    expect(new Date()).toBeInstanceOf(untouched.Date);
    expect(new Date(0).constructor).toBe(Date);
    expect(new (class extends Date {})(5).getTime()).toBe(5);
    expect(Date.UTC(1970, 0)).toBe(0);
    expect(Math.random()).toBeLessThan(1);
    expect(await (await fetch('data:,hello')).text()).toBe('hello');
    expect(warnings).toEqual([]);
  });

  it('may replace a global meanwhile, which is then not restored', () => {
    const now = vi.spyOn(Date, 'now').mockReturnValue(7);
    watch.run('messages.list', observed, () => expect(untrackedNow()).toBe(7));
    now.mockRestore();
    const mine = () => 0.5;
    Math.random = mine;
    watch.close();
    expect(Math.random).toBe(mine);
    Math.random = untouched.random;
  });

  it('gets the original globals when the last of several watches closes', () => {
    const other = new QueryWatch();
    for (const each of [watch, other]) each.open();
    watch.close();
    watch.close();
    expect(Date.now).not.toBe(untouched.now);
    other.close();
    expect(globals()).toEqual(untouched);
  });
});
