/**
 * The data of a result as the server has sent it, apart from the objects that the application has. As text until the
 * server changes it; then as a value until the text is asked for, which is when it is stored: however often a list changes
 * meanwhile, it is parsed and serialised once.
 */
import type { LiveMessageOf } from '../protocol/frames.js';
import { applyPatch } from './list-patch.js';

export class SentData {
  #text: string | null;
  #value: unknown;

  private constructor(text: string | null, value?: unknown) {
    this.#text = text;
    this.#value = value;
  }

  static of(text: string): SentData {
    return new SentData(text);
  }

  /** As JSON. */
  get text(): string {
    if (this.#text === null) {
      this.#text = JSON.stringify(this.#value);
      this.#value = undefined;
    }
    return this.#text;
  }

  /** After a change of the server; `null` where the change does not match. */
  patched({ rows, rest }: LiveMessageOf<'rows'>): SentData | null {
    const before = this.#text === null ? this.#value : JSON.parse(this.#text);
    // The application gets the new elements.
    const value = applyPatch(before, JSON.parse(JSON.stringify({ rows, rest })));
    return value === null ? null : new SentData(null, value);
  }
}
