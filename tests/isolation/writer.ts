/** Writes, reassigns and removes notes, and keeps its own record of the notes that exist. */
import { expect } from 'vitest';
import type { Random } from '../model/random.js';
import type { functions, Note } from './program.js';

/** The approximate number of notes. */
const NOTES = 40;

/** The number of people, and of their levels from 1. */
export interface Population {
  readonly people: number;
  readonly levels: number;
}

export class Writer {
  notes: Note[] = [];
  strict = false;
  readonly #baseUrl: string;
  readonly #random: Random;
  readonly #population: Population;

  constructor(baseUrl: string, random: Random, population: Population) {
    this.#baseUrl = baseUrl;
    this.#random = random;
    this.#population = population;
  }

  /** Runs `count` mutations concurrently. */
  async writeBatch(count: number): Promise<void> {
    const free = [...this.notes];
    const mutations = this.#random.chance(0.3) ? [this.#toggle()] : [];
    while (mutations.length < count) mutations.push(this.#writeOne(free));
    await Promise.all(mutations);
  }

  async #toggle(): Promise<void> {
    this.strict = !this.strict;
    await this.#call('setStrict', { on: this.strict });
  }

  async #writeOne(free: Note[]): Promise<void> {
    const owner = `p${this.#random.below(this.#population.people)}`;
    const level = this.#random.below(this.#population.levels + 1);
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
