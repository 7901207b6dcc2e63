/**
 * How far in the history of the database this client has been shown: sent with every request, so that no answer from
 * a server's memory is older than one that was already on the screen.
 *
 * A position is the server's own text, `<history>.<place>`. Places of one history have an order, that of their texts;
 * of another history (the database was restored, or failed over) whatever came last is right.
 */
export class Position {
  #latest: string | null = null;

  get latest(): string | null {
    return this.#latest;
  }

  /** Takes in what a server says; nothing where it said nothing. */
  note(said: string | null | undefined): void {
    if (said) this.#latest = later(this.#latest, said);
  }
}

function later(held: string | null, said: string): string {
  return held !== null && historyOf(held) === historyOf(said) && held > said ? held : said;
}

function historyOf(position: string): string {
  return position.split('.', 1)[0] ?? '';
}
