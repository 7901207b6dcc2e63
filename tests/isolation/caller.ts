/** Plain calls of people, whose answers are exact at any time: also from memory, and after calls of other people. */
import type { Random } from '../model/random.js';
import { expectedNotes, NAMES, type Note, tokenOf, type Viewer, type Watched } from './program.js';
import type { Received } from './subscriber.js';
import type { Writer } from './writer.js';

/** How often each of them makes each call: the second answer is kept, and the third may come from memory. */
const TIMES = 3;

/** Calls a query as several people at once and in turn, while nothing is written; compares each answer. */
export async function callAs(
  viewers: readonly Viewer[],
  { baseUrl, writer, random, received }: { baseUrl: string; writer: Writer; random: Random; received: Received },
): Promise<void> {
  const name = random.pick(NAMES);
  for (let time = 0; time < TIMES; time++) {
    const answers = await Promise.all(viewers.map((viewer) => call(baseUrl, name, viewer)));
    for (const [at, viewer] of viewers.entries()) {
      const answer = answers[at] ?? [];
      received.results++;
      received.rows += answer.length;
      const expected = expectedNotes(name, writer.notes, viewer, writer.strict);
      if (ids(answer) !== ids(expected)) {
        received.leaked.push(`${name} answered ${JSON.stringify(viewer.person)} ${ids(answer)}, not ${ids(expected)}`);
      }
    }
  }
}

function ids(notes: readonly Note[]): string {
  return notes
    .map(({ id }) => id)
    .sort()
    .join();
}

async function call(baseUrl: string, name: Watched, { person, badge }: Viewer): Promise<readonly Note[]> {
  const response = await fetch(`${baseUrl}/api/query/notes.${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${tokenOf(person, badge)}` },
    body: '{}',
  });
  const body = (await response.json()) as { ok: boolean; data: readonly Note[] };
  if (!response.ok) throw new Error(`notes.${name} was answered with ${response.status}`);
  return body.data;
}
