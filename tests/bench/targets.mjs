// Compares results with Convoy's targets. Never fails a run, since speeds depend on the
// machine.

/** The reference workload for `ofUniform`. */
const UNIFORM = 'transfer-uniform';

/**
 * Adds to every contestant the `ratio` of Convoy's speed to its speed and, if there is a
 * target, `met`.
 */
export function judge(requests) {
  const uniform = requests.find(({ name }) => name === UNIFORM)?.ours;
  return requests.map((work) => ({
    ...work,
    ours: work.ofUniform === undefined ? work.ours : { ...work.ours, ...shareOf(uniform, work) },
    theirs: work.theirs.map((other) => ({ ...other, ...compared(work.ours, other) })),
    ceiling:
      work.ceiling?.perSecond === undefined ? work.ceiling : { ...work.ceiling, ...compared(work.ours, work.ceiling) },
  }));
}

function compared(ours, { perSecond, target }) {
  const ratio = ours.perSecond / perSecond;
  return target === undefined ? { ratio } : { ratio, target, met: ratio >= target };
}

function shareOf(uniform, { ours, ofUniform }) {
  const target = ofUniform;
  if (uniform === undefined) return { target };
  const share = ours.perSecond / uniform.perSecond;
  return { share, target, met: share >= target };
}

/** The verdict on a number that must not exceed its target; `null` if it is unknown. */
export function atMost(what, is, target, unit) {
  return { what, is, target, unit, bound: '≤', met: is === null ? undefined : is <= target };
}

/** The verdict on a number that must reach its target. */
export function atLeast(what, is, target, unit) {
  return { what, is, target, unit, bound: '≥', met: is === null ? undefined : is >= target };
}

/** The number of measured targets, and how many of them were met. */
export function tally(requests, live = []) {
  const verdicts = live.flatMap(({ verdicts }) => verdicts);
  const judged = [...requests.flatMap(({ ours, theirs }) => [ours, ...theirs]), ...verdicts].filter(
    ({ met }) => met !== undefined,
  );
  return { met: judged.filter(({ met }) => met).length, of: judged.length };
}
