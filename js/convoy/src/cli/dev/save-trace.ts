/** The parts of the time from a save to the moment at which the new code serves, for `--verbose`. */

/** When a batch of changes was saved and noticed, in milliseconds since 1970. */
export interface ChangeTimes {
  /** The modification time of the file that was changed last; `null` where no file has one, as after a deletion. */
  readonly savedAt: number | null;
  readonly noticedAt: number;
}

export class SaveTrace {
  readonly #parts: (readonly [string, number])[] = [];
  #last: number;

  constructor({ savedAt, noticedAt }: ChangeTimes) {
    if (savedAt !== null) this.add('noticed', noticedAt - savedAt);
    this.#last = noticedAt;
  }

  /** Ends a part that began with the end of the previous one. */
  mark(name: string): void {
    const at = now();
    this.add(name, at - this.#last);
    this.#last = at;
  }

  /** Adds a part that was measured elsewhere. */
  add(name: string, ms: number): void {
    // Clocks of a file system may be behind by some milliseconds.
    this.#parts.push([name, Math.max(0, ms)]);
  }

  get totalMs(): number {
    return this.#parts.reduce((sum, [, ms]) => sum + ms, 0);
  }

  /** `noticed 2.1 ms, bundled 9.0 ms, …` */
  toString(): string {
    return this.#parts.map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`).join(', ');
  }
}

/** Milliseconds since 1970, with fractions. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
