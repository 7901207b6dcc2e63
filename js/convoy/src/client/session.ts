/**
 * One live session as the client sees it: which queries are wanted, what is held of each, what the server has been
 * told, and what a frame makes of that. No clock and no I/O; reports are returned, and the driver delivers them.
 *
 * Invariants: a frame counts whole or not at all. What is held with a hash is what the server calls by that hash, so it
 * may be named to any server, in this session or the next.
 */
import type { LiveMessage, LiveMessageOf, QueryWish, SessionChange } from '../protocol/frames.js';
import { type ConvoyError, errorFromPayload } from '../values/errors.js';
import { isBefore, type Position } from './consistency-token.js';
import { listIn, withRows } from './list-patch.js';
import { takesDataAway } from './snapshot.js';
import { share } from './structural-sharing.js';
import type { SubscribeRequest, SubscriptionSink } from './transport.js';

/** A query somebody watches. */
export interface WantedQuery extends SubscribeRequest {
  /** Its number in the session; another one when it is asked again. */
  readonly id: number;
  readonly sink: SubscriptionSink;
  /** The server cannot answer it for now, and will by itself. */
  readonly interrupted: boolean;
}

/** `hash` is empty where the data is on a screen and has no name that a server knows. */
interface Held {
  readonly hash: string;
  readonly data: unknown;
  /** What `rows` count in: a copy of the list's order, since whoever shows `data` may have sorted it in place. */
  readonly list: unknown;
}

interface Entry extends WantedQuery {
  id: number;
  interrupted: boolean;
  held: Held | null;
  /** The position of what was said last. */
  shownAt: string | undefined;
  closed: boolean;
}

/** What a frame says about one query. */
export type Report = { readonly query: WantedQuery } & (
  | { readonly type: 'result'; readonly data: unknown }
  | { readonly type: 'same' }
  | { readonly type: 'failed'; readonly error: ConvoyError }
  /** Its `interrupted` is another one now. */
  | { readonly type: 'interrupted' }
);

/** What a frame says about the session. */
export type Signal = LiveMessageOf<'session' | 'settled' | 'auth' | 'end' | 'error'>;

/** A frame read; `damaged` says why none of it counts. */
export type Reading =
  | { readonly damaged: string }
  | { readonly damaged: null; readonly reports: readonly Report[]; readonly signals: readonly Signal[] };

/**
 * How much of arguments goes into one message, in characters: whatever they are, well below the 1 MiB that a server
 * takes. A query with more goes alone, and not in an opening, so that it is refused alone.
 */
const MOST_ARGS = 256 * 1024;

export class Session {
  readonly #position: Position;
  readonly #wanted = new Map<number, Entry>();
  #nextId = 1;
  #name: string | null = null;
  #seq = 0;
  /** The queries the server has been told of. */
  #asked = new Set<number>();

  constructor(position: Position) {
    this.#position = position;
  }

  /** The session's name, once the server has said it. */
  get name(): string | null {
    return this.#name;
  }

  get wanted(): Iterable<WantedQuery> {
    return this.#wanted.values();
  }

  get isEmpty(): boolean {
    return this.#wanted.size === 0;
  }

  add(request: SubscribeRequest, sink: SubscriptionSink): WantedQuery {
    const entry = {
      ...request,
      sink,
      id: this.#nextId++,
      held: null,
      shownAt: undefined,
      interrupted: false,
      closed: false,
    };
    this.#wanted.set(entry.id, entry);
    return entry;
  }

  remove(query: WantedQuery): void {
    const entry = this.#wanted.get(query.id);
    if (entry) entry.closed = true;
    this.#wanted.delete(query.id);
  }

  /** Something is held of it that may lack what had happened by `position`. */
  isBehind(query: WantedQuery, position: string | null): boolean {
    const { held, shownAt } = query as Entry;
    return held !== null && isBefore(shownAt, position);
  }

  /** Nothing more shall be reported about it. */
  isOver(query: WantedQuery): boolean {
    return (query as Entry).closed;
  }

  /** Asks for the whole result again: a new number, and no hash. What the old number still brings is passed over. */
  renew(query: WantedQuery): void {
    const entry = this.#wanted.get(query.id);
    if (!entry) return;
    this.#wanted.delete(entry.id);
    entry.id = this.#nextId++;
    forgetHash(entry);
    this.#wanted.set(entry.id, entry);
  }

  /** The connection is gone, and the session with it. */
  lose(): void {
    this.#name = null;
    this.#seq = 0;
    this.#asked = new Set();
    for (const entry of this.#wanted.values()) entry.interrupted = false;
  }

  /** The set for a new session, as much of it as fits in one message. */
  open(): QueryWish[] {
    this.lose();
    return this.#tell([]);
  }

  /** What the server has not been told yet, as much as fits; from here on it counts as told. */
  changes(): SessionChange {
    const remove = [...this.#asked].filter((id) => !this.#wanted.has(id));
    for (const id of remove) this.#asked.delete(id);
    const [first] = this.#untold();
    return { add: this.#tell(first === undefined ? [] : [first]), remove };
  }

  /** The server refused `change` for what it adds, so what it removes is to be told again. */
  refused({ add, remove }: SessionChange): void {
    if (add.length > 0) for (const id of remove) this.#asked.add(id);
  }

  /** The queries `which`, or all of them, have failed by `error`. */
  fail(error: ConvoyError, which: Iterable<{ readonly id: number }> = [...this.#wanted.values()]): Report[] {
    return [...which].flatMap(({ id }): Report[] => {
      const query = this.#wanted.get(id);
      if (!query) return [];
      if (takesDataAway(error)) query.held = null;
      return [{ query, type: 'failed', error }];
    });
  }

  read(frame: readonly LiveMessage[]): Reading {
    const draft = new Draft();
    let { name, seq } = { name: this.#name, seq: this.#seq };
    for (const message of frame) {
      if (message.seq !== seq) return { damaged: `Message ${message.seq} came where ${seq} was due` };
      seq += 1;
      if (message.type === 'session') name = name ?? message.session;
      else if (name === null && isAboutQueries(message))
        return { damaged: `A ${message.type} came before the session` };
      const problem = this.#take(message, draft);
      if (problem !== null) return { damaged: problem };
    }
    this.#name = name;
    this.#seq = seq;
    return draft.commit(this.#position);
  }

  /** Notes in `draft` what one message says; gives what is wrong with it, if anything. */
  #take(message: LiveMessage, draft: Draft): string | null {
    switch (message.type) {
      case 'unknown':
        return null;
      case 'session':
      case 'settled':
      case 'auth':
      case 'end':
        draft.signals.push(message);
        return null;
    }
    if (message.type === 'error' && message.id === undefined) {
      draft.signals.push(message);
      return null;
    }
    const entry = this.#wanted.get(message.id as number);
    // Nobody wants it any more, and the server does not know yet.
    if (!entry) return null;
    if (message.type === 'error') {
      draft.fail(entry, errorFromPayload(message.error));
      return null;
    }
    const now = heldAfter(draft.held(entry), message);
    if (now === null) {
      forgetHash(entry);
      return `A ${message.type} of ${entry.name} does not fit what is held`;
    }
    draft.answer(entry, now, message);
    return null;
  }

  #untold(): Entry[] {
    return [...this.#wanted.values()].filter(({ id }) => !this.#asked.has(id));
  }

  /** Takes `first`, and of the other untold ones what there is room for beside them. */
  #tell(first: readonly Entry[]): QueryWish[] {
    const telling = new Set(first);
    let room = MOST_ARGS - first.reduce((sum, { args }) => sum + args.length, 0);
    for (const entry of this.#untold()) {
      if (telling.has(entry) || entry.args.length > room) continue;
      telling.add(entry);
      room -= entry.args.length;
    }
    return [...telling].map(({ id, name, args, held }) => {
      this.#asked.add(id);
      const wish = { id, name, args: JSON.parse(args) };
      return held === null || held.hash === '' ? wish : { ...wish, hash: held.hash };
    });
  }
}

/** What a frame does, gathered while it is read, so that a damaged one does nothing. */
class Draft {
  readonly reports: Report[] = [];
  readonly signals: Signal[] = [];
  readonly #shownAt = new Map<Entry, string | undefined>();
  readonly #held = new Map<Entry, Held | null>();
  readonly #interrupted = new Map<Entry, boolean>();

  held(entry: Entry): Held | null {
    return this.#held.get(entry) ?? (this.#held.has(entry) ? null : entry.held);
  }

  answer(entry: Entry, held: Held, { type, position }: LiveMessageOf<'result' | 'rows' | 'same'>): void {
    this.#held.set(entry, held);
    this.#shownAt.set(entry, position);
    this.#interrupt(entry, false);
    this.reports.push({ query: entry, ...(type === 'same' ? { type } : { type: 'result', data: held.data }) });
  }

  fail(entry: Entry, error: ConvoyError): void {
    // Nothing was learnt about the result.
    if (error.code === 'UNAVAILABLE') {
      this.#interrupt(entry, true);
      return;
    }
    if (takesDataAway(error)) this.#held.set(entry, null);
    this.#interrupt(entry, false);
    this.reports.push({ query: entry, type: 'failed', error });
  }

  commit(position: Position): Reading {
    for (const [entry, held] of this.#held) entry.held = held;
    for (const [entry, interrupted] of this.#interrupted) entry.interrupted = interrupted;
    for (const [entry, said] of this.#shownAt) {
      entry.shownAt = said;
      position.note(said);
    }
    return { damaged: null, reports: this.reports, signals: this.signals };
  }

  #interrupt(entry: Entry, interrupted: boolean): void {
    if (interrupted === (this.#interrupted.get(entry) ?? entry.interrupted)) return;
    this.#interrupted.set(entry, interrupted);
    this.reports.push({ query: entry, type: 'interrupted' });
  }
}

/** What is held after `message`; null where it does not fit what is held before. */
function heldAfter(held: Held | null, message: LiveMessageOf<'result' | 'rows' | 'same'>): Held | null {
  const { hash } = message;
  switch (message.type) {
    case 'result':
      return hash !== '' && held?.hash === hash ? held : holding(hash, share(held?.data, message.data));
    case 'same':
      return held?.hash === hash ? held : null;
    case 'rows': {
      if (held?.hash !== message.from) return null;
      const data = withRows(held.list, message);
      return data === null ? null : holding(hash, data);
    }
  }
}

function isAboutQueries({ type }: LiveMessage): boolean {
  return type === 'result' || type === 'rows' || type === 'same' || type === 'settled';
}

function holding(hash: string, data: unknown): Held {
  return { hash, data, list: hash === '' ? null : listIn(data) };
}

/** The data stays on the screen, and keeps its identity where the next result is equal. */
function forgetHash(entry: Entry): void {
  if (entry.held) entry.held = holding('', entry.held.data);
}
