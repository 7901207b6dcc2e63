// What pairs of measurements say: one of each side, taken one after the other, so
// that whatever else the machine did met both. Pure.

/** Pairs from which on an interval has a meaning, and by how much a difference counts. */
export const PAIRS = 9;
export const BOUND = 0.05;

/**
 * The median of the ratios `now / before`, and an interval that has the true
 * median in it with at least 95 %: the ratios in order, as many left out at either
 * end as the binomial distribution of signs allows.
 *
 * @param {{ before: number, now: number }[]} pairs
 */
export function ratioOf(pairs) {
  const ratios = pairs.map(({ before, now }) => now / before).sort((a, b) => a - b);
  const out = leftOut(ratios.length);
  return { median: median(ratios), low: ratios[out], high: ratios[ratios.length - 1 - out], pairs: ratios.length };
}

/**
 * `slower` or `faster` where the median and its whole interval lie beyond the
 * bound, else `alike`.
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

/** How many values at either end the interval may leave out. */
function leftOut(count) {
  let [out, tail, chance] = [0, 0, 0.5 ** count];
  for (let k = 0; k < count / 2; k += 1) {
    tail += chance;
    if (2 * tail > 0.05) break;
    out = k;
    chance = (chance * (count - k)) / (k + 1);
  }
  return out;
}
