/** The server's side of one live session: records the client's messages, and sends those that a test passes. */
import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import type { Piece, QueryDescriptor } from '../src/protocol/frames.js';
import { AsyncQueue } from './async-queue.js';

/** The connection of a session. */
export interface SessionWire {
  readonly kind: 'stream' | 'socket';
  /** One frame: messages separated by newlines. */
  frame(text: string): void;
  raw(bytes: string | Uint8Array): void;
  end(): void;
  cut(): void;
  readonly closed: Promise<void>;
}

export interface ReceivedChange {
  readonly add: readonly QueryDescriptor[];
  readonly remove: readonly number[];
  readonly auth?: true;
  readonly token?: string;
  readonly headers: IncomingHttpHeaders;
}

interface Opening {
  readonly protocol: number;
  readonly queries: readonly QueryDescriptor[];
  readonly token?: string;
  readonly position?: string;
  readonly headers: IncomingHttpHeaders;
  readonly wire: SessionWire;
}

export type ServerMessage = { readonly type: string } & Readonly<Record<string, unknown>>;

export class ScriptedSession {
  readonly name = randomBytes(16).toString('hex');
  /** The client's opening message. */
  readonly opening: Opening;
  /** The client's current subscriptions. */
  readonly queries = new Map<number, QueryDescriptor>();
  /** Settles when the client has disconnected, or the session has ended. */
  readonly closed: Promise<void>;
  readonly changes: ReceivedChange[] = [];
  readonly #arrived = new AsyncQueue<ReceivedChange>();
  readonly #wire: SessionWire;
  #seq = 0;

  constructor(opening: Opening) {
    this.opening = opening;
    this.#wire = opening.wire;
    this.closed = opening.wire.closed;
    for (const query of opening.queries) this.queries.set(query.id, query);
  }

  get kind(): SessionWire['kind'] {
    return this.#wire.kind;
  }

  get headers(): IncomingHttpHeaders {
    return this.opening.headers;
  }

  /** The next change from the client, received or to come, after those returned by earlier calls. */
  nextChange(): Promise<ReceivedChange> {
    return this.#arrived.next();
  }

  change(change: Omit<ReceivedChange, 'headers'>, headers: IncomingHttpHeaders): void {
    for (const id of change.remove) this.queries.delete(id);
    for (const query of change.add) this.queries.set(query.id, query);
    const received = { ...change, headers };
    this.changes.push(received);
    this.#arrived.add(received);
  }

  /** The client's latest subscription with these arguments. */
  query(args: unknown): QueryDescriptor {
    const found = [...this.queries.values()].findLast((query) => isDeepStrictEqual(query.args, args));
    if (!found) throw new Error(`there is no subscription with ${JSON.stringify(args)}`);
    return found;
  }

  /** Sends these messages as one frame, with sequence numbers. */
  send(...messages: readonly ServerMessage[]): void {
    this.#wire.frame(this.frameOf(...messages));
  }

  /** The text of a frame, whose messages count as sent. */
  frameOf(...messages: readonly ServerMessage[]): string {
    return messages.map(({ type, ...rest }) => JSON.stringify({ type, seq: this.#seq++, ...rest })).join('\n');
  }

  result(args: unknown, data: unknown, hash: string): void {
    this.send({ type: 'result', id: this.query(args).id, ts: 1, hash, data });
  }

  rows(args: unknown, from: string, hash: string, rows: readonly Piece[]): void {
    this.send({ type: 'rows', id: this.query(args).id, ts: 1, from, hash, rows });
  }

  same(args: unknown): void {
    const { id, hash } = this.query(args);
    this.send({ type: 'same', id, hash });
  }

  error(args: unknown, error: { readonly code: string; readonly message: string; readonly details?: unknown }): void {
    this.send({ type: 'error', id: this.query(args).id, ts: 1, error });
  }

  /** Sends raw bytes. */
  raw(bytes: string | Uint8Array): void {
    this.#wire.raw(bytes);
  }

  end(): void {
    this.#wire.end();
  }

  /** Cuts the connection. */
  cut(): void {
    this.#wire.cut();
  }
}
