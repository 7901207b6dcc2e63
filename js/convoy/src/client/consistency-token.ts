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

/**
 * Where the changes stand that any client of this process was told of, by server. Of all clients together, so it is the
 * one thing of them that belongs to a module: who was told by one client may ask another.
 */
const acknowledged = new Map<string, Position>();

export function acknowledgedBy(server: string): Position {
  const known = acknowledged.get(server) ?? new Position();
  acknowledged.set(server, known);
  return known;
}

/** Whether what was shown at `shown` may lack what had happened by `position`. */
export function isBefore(shown: string | undefined, position: string | null): boolean {
  if (position === null) return false;
  return shown === undefined || later(shown, position) !== shown;
}

function later(held: string | null, said: string): string {
  return held !== null && historyOf(held) === historyOf(said) && held > said ? held : said;
}

function historyOf(position: string): string {
  return position.split('.', 1)[0] ?? '';
}
