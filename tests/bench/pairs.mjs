// Evaluates pairs of measurements: one of each side, taken one after the other, so that
// other load on the machine affects both. Pure.

/** The minimum number of pairs for an interval, and the smallest difference that counts. */
export const PAIRS = 9;
export const BOUND = 0.05;

/**
 * The median of the ratios `now / before`, and a confidence interval of at least 95 % for
 * it: the sorted ratios without as many values at either end as the binomial distribution
 * of signs allows.
 *
 * @param {{ before: number, now: number }[]} pairs
 */
export function ratioOf(pairs) {
  const ratios = pairs.map(({ before, now }) => now / before).sort((a, b) => a - b);
  const excluded = excludedCount(ratios.length);
  return {
    median: median(ratios),
    low: ratios[excluded],
    high: ratios[ratios.length - 1 - excluded],
    pairs: ratios.length,
  };
}

/**
 * `slower` or `faster` if the whole interval is beyond the bound, otherwise `alike`.
 *
 * @param {ReturnType<typeof ratioOf>} ratio
 * @param {'higher' | 'lower'} better
 */
export function verdictOf({ low, high, pairs }, better) {
  if (pairs < PAIRS) return 'too few pairs';
  if (high < 1 - BOUND) return better === 'higher' ? 'slower' : 'faster';
  if (low > 1 + BOUND) return better === 'higher' ? 'faster' : 'slower';
  return 'alike';
}

/** @param {number[]} sorted */
export function median(sorted) {
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The number of values that the interval may exclude at either end. */
function excludedCount(count) {
  let [out, tail, chance] = [0, 0, 0.5 ** count];
  for (let k = 0; k < count / 2; k += 1) {
    tail += chance;
    if (2 * tail > 0.05) break;
    out = k;
    chance = (chance * (count - k)) / (k + 1);
  }
  return out;
}
