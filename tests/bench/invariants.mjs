// What no load may break, whatever the speed: money and likes are neither lost
// nor made, and nobody who must not fail does.

/**
 * What a workload `keeps`: `state` reads a contestant's tables, `broken` says what
 * is wrong after a run.
 */
const KEPT = {
  money: {
    state: (database, contestant) => database.money(contestant),
    broken(before, after, { answered }) {
      const sentences = [];
      if (after.sum !== before.sum) sentences.push(`the sum of all balances went from ${before.sum} to ${after.sum}`);
      if (after.lowest < 0) sentences.push(`an account is at ${after.lowest}`);
      if (answered > 0 && after.lastWrite === before.lastWrite) sentences.push('no account was written at all');
      return sentences;
    },
  },
  likes: {
    state: (database, contestant) => database.likes(contestant),
    broken: (before, after, { answered }) =>
      after - before === answered ? [] : [`${answered} likes were answered and ${after - before} stored`],
  },
};

/**
 * Runs `measure` between two looks at the contestant's tables; gives its
 * measurements, with what was broken.
 */
export async function guarded(database, work, contestant, measure) {
  const kept = KEPT[work.keeps];
  if (kept === undefined) return { ...(await measure()), broken: [] };
  const before = await kept.state(database, contestant);
  const measured = await measure();
  const after = await kept.state(database, contestant);
  const broken = kept.broken(before, after, measured).map((what) => `${work.title}, ${contestant.title}: ${what}`);
  return { ...measured, broken };
}

/** What is wrong with a contestant's answers, in all runs together. */
export function brokenAnswers(work, { title, mayFail }, runs) {
  const errors = Object.entries(errorsOf(runs));
  if (mayFail || errors.length === 0) return [];
  const counts = errors.map(([status, times]) => `${times} × ${status}`).join(', ');
  const { anError } = runs.find((run) => run.anError !== null);
  const body = anError.slice(anError.indexOf('\r\n\r\n') + 4, 600);
  const answered = runs.reduce((sum, run) => sum + run.answered, 0);
  return [`${work.title}, ${title}: not every answer was a 200 (${counts}, beside ${answered}); one said: ${body}`];
}

/** How many answers were something else than a 200, by status. */
export function errorsOf(runs) {
  const errors = {};
  for (const [status, times] of runs.flatMap((run) => Object.entries(run.errors))) {
    errors[status] = (errors[status] ?? 0) + times;
  }
  return errors;
}
