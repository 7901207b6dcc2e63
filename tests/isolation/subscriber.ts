/** A subscriber that checks each row it receives against what its person may see. */
import { expect } from 'vitest';
import { LiveSession } from '../live-wire.js';
import { expectedNotes, type Note, type Person, tokenOf, type Viewer, type Watched } from './program.js';

/** The results that all subscribers together have received. */
export interface Received {
  results: number;
  rows: number;
  /** Rows that the subscriber's person may not see. */
  leaked: string[];
}

/** One session, with the queries `names`. */
export class Subscriber implements Viewer {
  person: Person;
  readonly badge: boolean;
  readonly #baseUrl: string;
  readonly #names: readonly Watched[];
  readonly #received: Received;
  /** The person before a change in progress, whose results may still arrive. */
  #previous: Person | null = null;
  #session!: LiveSession;
  #fences = 1_000;

  constructor(baseUrl: string, person: Person, badge: boolean, names: readonly Watched[], received: Received) {
    this.#baseUrl = baseUrl;
    this.person = person;
    this.badge = badge;
    this.#names = names;
    this.#received = received;
  }

  async open(cached?: LiveSession['results']): Promise<this> {
    this.#session = await LiveSession.open({
      baseUrl: this.#baseUrl,
      token: tokenOf(this.person, this.badge),
      queries: this.#names.map((name, id) => {
        const hash = cached?.get(id)?.hash;
        return { id, name: `notes.${name}`, args: {}, ...(hash === undefined ? {} : { hash }) };
      }),
      ...(cached === undefined ? {} : { cached }),
      onResult: (query, data) => this.#check(this.#names[query] ?? 'sometimes', data as readonly Note[]),
    });
    return this;
  }

  /** Opens a new session as another person, which names the previous one's results by their hashes. */
  async reopenAs(person: Person): Promise<void> {
    const { results } = this.#session;
    await this.#session.close();
    this.person = person;
    await this.open(results);
  }

  /** Sends a new token of the same person, with another level. */
  async changeLevel(level: number): Promise<void> {
    this.#previous = this.person;
    this.person = { ...this.person, level };
    expect(await this.#session.change({}, tokenOf(this.person, this.badge))).toBe(200);
    await this.catchUp();
    this.#previous = null;
  }

  /** Checks that the session refuses the token of another person. */
  async expectRefused(person: Person): Promise<void> {
    expect(await this.#session.change({}, tokenOf(person, this.badge))).toBe(403);
  }

  /** Waits until all messages sent so far have arrived: adds a query, whose result comes after them. */
  async catchUp(): Promise<void> {
    const id = this.#fences++;
    await this.#session.change({ add: [{ id, name: 'notes.sometimes', args: {} }] });
    await this.#session.until(() => this.#session.results.has(id));
    await this.#session.change({ remove: [id] });
  }

  /** Waits until the results are exactly the notes that the person may see. */
  async untilComplete(notes: readonly Note[], strict: boolean): Promise<void> {
    const ids = (list: readonly Note[]) =>
      list
        .map(({ id }) => id)
        .sort()
        .join();
    const expected = this.#names.map((name) => ids(expectedNotes(name, notes, this, strict)));
    await this.#session.until(() =>
      expected.every((list, query) => ids((this.#session.data(query) ?? []) as readonly Note[]) === list),
    );
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  #check(name: Watched, notes: readonly Note[]): void {
    this.#received.results++;
    this.#received.rows += notes.length;
    const people = [this.person, ...(this.#previous === null ? [] : [this.#previous])];
    const allowed = new Set(
      people.flatMap((person) =>
        [true, false].flatMap((strict) => expectedNotes(name, notes, { person, badge: this.badge }, strict)),
      ),
    );
    for (const note of notes) {
      if (!allowed.has(note)) {
        this.#received.leaked.push(`${name} sent ${JSON.stringify(this.person)} ${JSON.stringify(note)}`);
      }
    }
  }
}
