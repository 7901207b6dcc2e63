import { describe, expect, it } from 'vitest';
import { decimalSum } from './decimal-sum.js';

describe('decimalSum', () => {
  it.each([
    [0.1, 0.2, 0.3],
    [1e21, 1, 1e21],
    [1e-7, 2e-7, 3e-7],
    [-0.3, 0.1, -0.2],
    [1.5e300, -1.5e300, 0],
    [0, -0, 0],
    [2.9, 0.1, 3],
  ])('%d and %d are %d', (a, b, sum) => {
    expect(decimalSum(a, b)).toBe(sum);
  });

  it('adds whole numbers exactly', () => {
    for (let a = -(2 ** 51); a < 2 ** 51; a += 2 ** 44 + 1) expect(decimalSum(a, 12_345)).toBe(a + 12_345);
  });
});
