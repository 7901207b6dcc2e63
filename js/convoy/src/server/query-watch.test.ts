import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { QueryWatch, untrackedNow } from './query-watch.js';

const untouched = { Date: globalThis.Date, now: Date.now, random: Math.random, fetch: globalThis.fetch };
const globals = () => ({ Date: globalThis.Date, now: Date.now, random: Math.random, fetch: globalThis.fetch });

const warnings: string[] = [];
let watch: QueryWatch;
beforeEach(() => {
  warnings.length = 0;
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
  ])('that calls %s causes a warning with the alternative and the location', (_, handler, alternative) => {
    watch.run('messages.list', handler);
    expect(warnings).toEqual([expect.stringContaining('the query messages.list calls')]);
    expect(warnings[0]).toContain(alternative);
    expect(warnings[0]).toContain('query-watch.test.ts');
  });

  it('is reported once, also for a later call, until other code is loaded', async () => {
    const handler = async () => {
      await null;
      return [Date.now(), Date.now()];
    };
    await watch.run('messages.list', handler);
    await watch.run('messages.list', handler);
    expect(warnings).toHaveLength(1);
    await watch.run('messages.other', handler);
    expect(warnings).toHaveLength(2);
    watch.reset();
    await watch.run('messages.list', handler);
    expect(warnings).toHaveLength(3);
  });

  it('may create dates of given times, and call ctx.now', () => {
    watch.run('messages.list', () => [new Date(0), new Date('2020-01-01'), Date.parse('2020-01-01'), untrackedNow()]);
    expect(warnings).toEqual([]);
  });
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
    watch.run('messages.list', () => expect(untrackedNow()).toBe(7));
    now.mockRestore();
    const mine = () => 0.5;
    Math.random = mine;
    watch.close();
    expect(Math.random).toBe(mine);
    Math.random = untouched.random;
  });

  it('gets the original globals when the last of several watches closes', () => {
    const other = new QueryWatch();
    watch.close();
    watch.close();
    expect(Date.now).not.toBe(untouched.now);
    other.close();
    expect(globals()).toEqual(untouched);
  });
});
