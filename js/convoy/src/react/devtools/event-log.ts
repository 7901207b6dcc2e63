/**
 * What a client has received while the panel was open: the latest events, each with what it is about. Older ones are
 * dropped.
 */
import type { LiveMessage } from '../../protocol/frames.js';

/** How many events are kept. */
export const MAX_EVENTS = 200;

export interface LoggedEvent {
  /** Counts up. */
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** The type of a message, or `connection`. */
  readonly kind: string;
  /** The keys of the queries that it is about. */
  readonly queries: readonly string[];
  readonly text: string;
  /** The size of the message as JSON, in characters; 0 for what is no message. */
  readonly size: number;
  /** The number of the frame; messages of one frame are displayed together. */
  readonly frame: number;
}

export class EventLog {
  #events: readonly LoggedEvent[] = [];
  #nextId = 1;
  #frame = 0;

  /** The events, the latest first; the same array until there is another one. */
  get events(): readonly LoggedEvent[] {
    return this.#events;
  }

  /** Adds the messages of a frame. `keyOf` returns the key of the query with an id, if there is one. */
  addFrame(messages: readonly LiveMessage[], at: number, keyOf: (id: number) => string | undefined): void {
    this.#frame += 1;
    for (const message of messages) {
      const queries = idsIn(message).map((id) => keyOf(id) ?? 'a query that has ended');
      const text = [textOf(message), ...queries, causeOf(message)].filter((part) => part !== '').join(' ');
      this.#add({ at, kind: message.type, queries, text, size: JSON.stringify(message).length });
    }
  }

  addConnection(text: string, at: number): void {
    this.#frame += 1;
    this.#add({ at, kind: 'connection', queries: [], text, size: 0 });
  }

  clear(): void {
    this.#events = [];
  }

  #add(event: Omit<LoggedEvent, 'id' | 'frame'>): void {
    const logged = { ...event, id: this.#nextId++, frame: this.#frame };
    this.#events = [logged, ...this.#events].slice(0, MAX_EVENTS);
  }
}

/** The queries that a message is about. */
function idsIn(message: LiveMessage): readonly number[] {
  if ('ids' in message) return message.ids;
  return 'id' in message && message.id !== undefined ? [message.id] : [];
}

/** Why the run of a result was made, where the server says so. */
function causeOf(message: LiveMessage): string {
  return 'cause' in message && message.cause !== undefined ? `(${message.cause})` : '';
}

/** What a message says, besides its queries. */
function textOf(message: LiveMessage): string {
  switch (message.type) {
    case 'session':
      return `opened ${message.session}`;
    case 'included':
      return 'these results have the changes of a mutation:';
    case 'settled':
      return 'all results have the changes of a mutation';
    case 'end':
      return `${message.reason}; the client reconnects after ${message.retryMs} ms`;
    case 'auth':
      return `the token is not accepted: ${message.error.code}`;
    case 'error':
      return message.error.code;
    default:
      return '';
  }
}
