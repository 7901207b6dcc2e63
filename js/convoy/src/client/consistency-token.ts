/**
 * The latest position that this client has seen of the database's history. It is sent with every request, so that a
 * server's cached result is never older than one this client has already shown.
 *
 * Servers make the text of a position, `<source>.<offset>`. Positions of one source are ordered as their texts are; a
 * position of another source (another server process) has no order to the earlier one and replaces it.
 */
export class ConsistencyToken {
  #latest: string | null = null;

  get latest(): string | null {
    return this.#latest;
  }

  /** Advances to a position received from a server; does nothing where the server sent none. */
  advance(received: string | null | undefined): void {
    if (received) this.#latest = later(this.#latest, received);
  }

  /** Advances to a position of an earlier time, which does not replace one of another server process. */
  advanceToEarlier(received: string | null | undefined): void {
    if (received && (this.#latest === null || sourceOf(this.#latest) === sourceOf(received))) this.advance(received);
  }
}

/**
 * The position of the latest acknowledged change, by server, over all clients of this process. Module state, because
 * the caller of a mutation through one client may read through another.
 */
const acknowledged = new Map<string, ConsistencyToken>();

export function acknowledgedBy(server: string): ConsistencyToken {
  const token = acknowledged.get(server) ?? new ConsistencyToken();
  acknowledged.set(server, token);
  return token;
}

/** Whether a result from `position` may lack changes made by `required`. */
export function isBefore(position: string | undefined, required: string | null): boolean {
  if (required === null) return false;
  return position === undefined || later(position, required) !== position;
}

/** Whether `position` is a later one of the same source. */
export function isLater(position: string, than: string): boolean {
  return sourceOf(position) === sourceOf(than) && position > than;
}

function later(latest: string | null, received: string): string {
  return latest !== null && sourceOf(latest) === sourceOf(received) && latest > received ? latest : received;
}

function sourceOf(position: string): string {
  return position.split('.', 1)[0] ?? '';
}
