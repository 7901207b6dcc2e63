/** Someone before a screen, who knows what they must never see on it. */
import { expect } from 'vitest';
import { LiveSession } from '../live-wire.js';
import { type Note, type Person, shownBy, tokenOf, type Viewer, type Watched } from './program.js';

/** What was seen, by everyone together. */
export interface Seen {
  results: number;
  rows: number;
  foreign: string[];
}

/** Someone at a screen. */
export class Screen implements Viewer {
  person: Person;
  readonly badge: boolean;
  readonly #baseUrl: string;
  readonly #names: readonly Watched[];
  readonly #seen: Seen;
  /** Who else the person was a moment ago; then there may still be on its way what was theirs. */
  #before: Person | null = null;
  #session!: LiveSession;
  #fences = 1_000;

  constructor(baseUrl: string, person: Person, badge: boolean, names: readonly Watched[], seen: Seen) {
    this.#baseUrl = baseUrl;
    this.person = person;
    this.badge = badge;
    this.#names = names;
    this.#seen = seen;
  }

  async open(held?: LiveSession['held']): Promise<this> {
    this.#session = await LiveSession.open({
      baseUrl: this.#baseUrl,
      token: tokenOf(this.person, this.badge),
      queries: this.#names.map((name, id) => {
        const hash = held?.get(id)?.hash;
        return { id, name: `notes.${name}`, args: {}, ...(hash === undefined ? {} : { hash }) };
      }),
      ...(held === undefined ? {} : { held }),
      onResult: (query, data) => this.#look(this.#names[query] ?? 'sometimes', data as readonly Note[]),
    });
    return this;
  }

  /** The same screen, and somebody else before it, who knows what the last one has seen by its hashes. */
  async becomes(person: Person): Promise<void> {
    const { held } = this.#session;
    await this.#session.close();
    this.person = person;
    await this.open(held);
  }

  /** A new token of the same person, who may see more by it, or less. */
  async turns(level: number): Promise<void> {
    this.#before = this.person;
    this.person = { ...this.person, level };
    expect(await this.#session.change({}, tokenOf(this.person, this.badge))).toBe(200);
    await this.caughtUp();
    this.#before = null;
  }

  /** Somebody else's token does not do for this session. */
  async refuses(person: Person): Promise<void> {
    expect(await this.#session.change({}, tokenOf(person, this.badge))).toBe(403);
  }

  /** Waits until all has arrived that was sent before: what is asked for now comes after it. */
  async caughtUp(): Promise<void> {
    const id = this.#fences++;
    await this.#session.change({ add: [{ id, name: 'notes.sometimes', args: {} }] });
    await this.#session.until(() => this.#session.held.has(id));
    await this.#session.change({ remove: [id] });
  }

  /** Waits until all that is to be seen is, and nothing else. */
  async shows(notes: readonly Note[], strict: boolean): Promise<void> {
    const ids = (list: readonly Note[]) =>
      list
        .map(({ id }) => id)
        .sort()
        .join();
    const expected = this.#names.map((name) => ids(shownBy(name, notes, this, strict)));
    await this.#session.until(() =>
      expected.every((wanted, query) => ids((this.#session.data(query) ?? []) as readonly Note[]) === wanted),
    );
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  #look(name: Watched, notes: readonly Note[]): void {
    this.#seen.results++;
    this.#seen.rows += notes.length;
    const people = [this.person, ...(this.#before === null ? [] : [this.#before])];
    const allowed = new Set(
      people.flatMap((person) =>
        [true, false].flatMap((strict) => shownBy(name, notes, { person, badge: this.badge }, strict)),
      ),
    );
    for (const note of notes) {
      if (!allowed.has(note)) {
        this.#seen.foreign.push(`${name} showed ${JSON.stringify(this.person)} ${JSON.stringify(note)}`);
      }
    }
  }
}
