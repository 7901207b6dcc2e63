// What Convoy is to reach, and whether it did. Never fails a run: speeds belong to
// the machine.

/** The workload others are shares of. */
const UNIFORM = 'transfer-uniform';

/**
 * Gives every contestant its `ratio` (what Convoy is, in times of it) and, where
 * there is a target, `met`.
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

/** A number that is to be no more than its target; `null` where it is not known. */
export function atMost(what, is, target, unit) {
  return { what, is, target, unit, bound: '≤', met: is === null ? undefined : is <= target };
}

/** A number that is to be no less. */
export function atLeast(what, is, target, unit) {
  return { what, is, target, unit, bound: '≥', met: is === null ? undefined : is >= target };
}

/** Of all targets that were measured. */
export function tally(requests, live = []) {
  const verdicts = live.flatMap(({ verdicts }) => verdicts);
  const judged = [...requests.flatMap(({ ours, theirs }) => [ours, ...theirs]), ...verdicts].filter(
    ({ met }) => met !== undefined,
  );
  return { met: judged.filter(({ met }) => met).length, of: judged.length };
}
