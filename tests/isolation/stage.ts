/** Where notes are written, change hands and go; the test's own account of what there is. */
import { expect } from 'vitest';
import type { Random } from '../model/random.js';
import type { functions, Note } from './program.js';

/** About how many notes there are. */
const NOTES = 40;

/** How many people there are, and levels of them from 1 on. */
export interface Cast {
  readonly people: number;
  readonly levels: number;
}

/** Those who write, and what there is by now. */
export class Stage {
  notes: Note[] = [];
  strict = false;
  readonly #baseUrl: string;
  readonly #random: Random;
  readonly #cast: Cast;

  constructor(baseUrl: string, random: Random, cast: Cast) {
    this.#baseUrl = baseUrl;
    this.#random = random;
    this.#cast = cast;
  }

  /** Makes so many mutations, at the same time. */
  async act(count: number): Promise<void> {
    const free = [...this.notes];
    const made = this.#random.chance(0.3) ? [this.#toggle()] : [];
    while (made.length < count) made.push(this.#one(free));
    await Promise.all(made);
  }

  async #toggle(): Promise<void> {
    this.strict = !this.strict;
    await this.#call('setStrict', { on: this.strict });
  }

  async #one(free: Note[]): Promise<void> {
    const owner = `p${this.#random.below(this.#cast.people)}`;
    const level = this.#random.below(this.#cast.levels + 1);
    const [note] = free.splice(this.#random.below(free.length), 1);
    if (note === undefined || this.notes.length < this.#random.below(2 * NOTES)) {
      const id = (await this.#call('write', { owner, level })) as string;
      this.notes.push({ id, owner, level });
      return;
    }
    if (this.#random.chance(0.3)) {
      this.notes = this.notes.filter(({ id }) => id !== note.id);
      await this.#call('remove', { id: note.id });
      return;
    }
    this.notes = this.notes.map((other) => (other.id === note.id ? { id: note.id, owner, level } : other));
    await this.#call('change', { id: note.id, owner, level });
  }

  async #call(name: keyof typeof functions.notes, input: object): Promise<unknown> {
    const response = await fetch(`${this.#baseUrl}/api/mutation/notes.${name}`, {
      method: 'POST',
      headers: { authorization: 'Bearer writer/0' },
      body: JSON.stringify(input),
    });
    const answer = (await response.json()) as { readonly ok: boolean; readonly data?: unknown };
    expect(answer).toMatchObject({ ok: true });
    return answer.data;
  }
}
