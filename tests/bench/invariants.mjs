// Invariants under any load: money and likes are neither lost nor created, and there are
// no unexpected errors.

/**
 * The invariants of workloads: `state` reads a contestant's tables, `broken` returns the
 * violations after a run of a workload.
 */
const INVARIANTS = {
  money: {
    state: (database, contestant) => database.money(contestant),
    broken(before, after, { answered }) {
      const sentences = [];
      if (after.sum !== before.sum) sentences.push(`the sum of all balances went from ${before.sum} to ${after.sum}`);
      if (after.lowest < 0) sentences.push(`an account is at ${after.lowest}`);
      if (answered > 0 && after.lastWrite === before.lastWrite) sentences.push('no account was written');
      return sentences;
    },
  },
  likes: {
    state: (database, contestant) => database.likes(contestant),
    broken(before, after, { answered, answeredEach }, { mix }) {
      const likes = mix === undefined ? answered : answeredEach[mix.findIndex(({ isLike }) => isLike)];
      return after - before === likes ? [] : [`${likes} likes were answered and ${after - before} stored`];
    },
  },
};

/**
 * Runs `measure` and compares the contestant's tables before and after; returns its
 * measurements with the violations.
 */
export async function withInvariants(database, work, contestant, measure) {
  const invariant = INVARIANTS[work.invariant];
  if (invariant === undefined) return { ...(await measure()), broken: [] };
  const before = await invariant.state(database, contestant);
  const measured = await measure();
  const after = await invariant.state(database, contestant);
  const sentences = invariant.broken(before, after, measured, work);
  const broken = sentences.map((sentence) => `${work.title}, ${contestant.title}: ${sentence}`);
  return { ...measured, broken };
}

/** The unexpected error responses of a contestant in all runs. */
export function brokenAnswers(work, { title, mayFail }, runs) {
  const errors = Object.entries(errorsOf(runs));
  if (mayFail || errors.length === 0) return [];
  const counts = errors.map(([status, times]) => `${times} × ${status}`).join(', ');
  const { anError } = runs.find((run) => run.anError !== null);
  const body = anError.slice(anError.indexOf('\r\n\r\n') + 4, 600);
  const answered = runs.reduce((sum, run) => sum + run.answered, 0);
  return [
    `${work.title}, ${title}: not every response was a 200 (${counts}, with ${answered} successes); one body: ${body}`,
  ];
}

/** The number of responses other than 200, by status. */
export function errorsOf(runs) {
  const errors = {};
  for (const [status, times] of runs.flatMap((run) => Object.entries(run.errors))) {
    errors[status] = (errors[status] ?? 0) + times;
  }
  return errors;
}
