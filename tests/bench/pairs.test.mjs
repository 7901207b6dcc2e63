import { expect, it } from 'vitest';
import { ratioOf, verdictOf } from './pairs.mjs';

const pairs = (ratios) => ratios.map((now) => ({ before: 100, now: now * 100 }));

it('returns the median ratio of nine pairs, and the second to the eighth as its interval', () => {
  const { median, low, high } = ratioOf(pairs([0.5, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 2]));
  expect(median).toBeCloseTo(0.94);
  expect(low).toBeCloseTo(0.91);
  expect(high).toBeCloseTo(0.97);
});

it('calls a side slower only if the whole interval lies beyond the bound', () => {
  const slower = ratioOf(pairs([0.9, 0.9, 0.9, 0.9, 0.91, 0.91, 0.92, 0.94, 1.2]));
  expect(verdictOf(slower, 'higher')).toBe('slower');
  expect(verdictOf(slower, 'lower')).toBe('faster');
  const wide = ratioOf(pairs([0.8, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 1, 1]));
  expect(verdictOf(wide, 'higher')).toBe('alike');
});

it('has no verdict for fewer than nine pairs', () => {
  expect(verdictOf(ratioOf(pairs([0.1, 0.1, 0.1])), 'higher')).toBe('too few pairs');
});
