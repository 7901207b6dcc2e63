/**
 * The client's side of one live session: which queries are subscribed, the cached result of each, which of them the
 * server has been sent, and the effects of each frame. No clock and no I/O; events are returned, and the driver
 * delivers them.
 *
 * Invariants: a frame is applied whole or not at all. A result cached under a hash is the one the server names by that
 * hash, so the hash may be sent to any server, in this session or the next.
 */
import type { LiveMessage, LiveMessageOf, QueryDescriptor, SessionChange } from '../protocol/frames.js';
import { type ConvoyError, errorFromPayload } from '../values/errors.js';
import { type ConsistencyToken, isBefore } from './consistency-token.js';
import { applyPatch, copyList } from './list-patch.js';
import { revokesData } from './snapshot.js';
import { replaceEqualDeep } from './structural-sharing.js';
import type { QueryAnswer, SubscribeRequest, SubscriptionSink } from './transport.js';

/** A query with a subscription. */
export interface SubscribedQuery extends SubscribeRequest {
  /** Its id in the session; a resubscription has a new one. */
  readonly id: number;
  readonly sink: SubscriptionSink;
  /** The server cannot run it at the moment, and will retry. */
  readonly interrupted: boolean;
  readonly cached: CachedResult | null;
}

/** `hash` is empty where the data is displayed but no server has a hash for it. */
export interface CachedResult {
  readonly hash: string;
  readonly data: unknown;
  /**
   * The list that `rows` messages patch: a copy, because the application may have sorted the one in `data` in place.
   */
  readonly list: unknown;
}

interface QueryEntry extends SubscribedQuery {
  id: number;
  interrupted: boolean;
  cached: CachedResult | null;
  /** The position of the latest message about the result. */
  position: string | undefined;
  closed: boolean;
}

/** The part of a frame about one query. */
export type QueryEvent = { readonly query: SubscribedQuery } & (
  | QueryAnswer
  /** Its `interrupted` has changed. */
  | { readonly type: 'interrupted' }
);

/** The part of a frame about the session. */
export type SessionEvent = LiveMessageOf<'session' | 'settled' | 'included' | 'auth' | 'end' | 'error'>;

/** The effects of a frame, or the protocol error for which it was discarded. */
export type FrameResult =
  | { readonly protocolError: string }
  | {
      readonly protocolError: null;
      readonly queryEvents: readonly QueryEvent[];
      readonly sessionEvents: readonly SessionEvent[];
    };

/**
 * The maximum size of the arguments in one message, in characters: in any encoding well below the 1 MiB that a server
 * accepts. A query with larger arguments is sent alone, and not in an opening, so that only it is refused.
 */
const MAX_ARGS_CHARS = 256 * 1024;

export class Session {
  readonly #consistencyToken: ConsistencyToken;
  readonly #queries = new Map<number, QueryEntry>();
  #nextId = 1;
  #name: string | null = null;
  #seq = 0;
  /** The ids of the queries sent to the server. */
  #sent = new Set<number>();

  constructor(consistencyToken: ConsistencyToken) {
    this.#consistencyToken = consistencyToken;
  }

  /** The session's name; null until the server has opened the session. */
  get name(): string | null {
    return this.#name;
  }

  get queries(): Iterable<SubscribedQuery> {
    return this.#queries.values();
  }

  get isEmpty(): boolean {
    return this.#queries.size === 0;
  }

  add({ name, args, initial, onAnswer }: SubscribeRequest, sink: SubscriptionSink): SubscribedQuery {
    const entry = {
      name,
      args,
      onAnswer,
      sink,
      id: this.#nextId++,
      cached: initial === undefined ? null : cachedResult(initial.hash, initial.data, initial.list),
      position: initial?.position || undefined,
      interrupted: false,
      closed: false,
    };
    this.#consistencyToken.advanceToEarlier(initial?.position);
    this.#queries.set(entry.id, entry);
    return entry;
  }

  remove(query: SubscribedQuery): void {
    const entry = this.#queries.get(query.id);
    if (entry) entry.closed = true;
    this.#queries.delete(query.id);
  }

  /** The query has a cached result that may lack changes made by `position`. */
  isBehind(query: SubscribedQuery, position: string | null): boolean {
    const entry = query as QueryEntry;
    return entry.cached !== null && isBefore(entry.position, position);
  }

  /** The sinks of the queries with these ids. */
  sinksOf(ids: readonly number[]): SubscriptionSink[] {
    return ids.flatMap((id) => this.#queries.get(id)?.sink ?? []);
  }

  /** The subscription was closed, so events about the query are no longer delivered. */
  isClosed(query: SubscribedQuery): boolean {
    return (query as QueryEntry).closed;
  }

  /** Requests the whole result: a new id, and no hash. Messages about the old id are ignored. */
  resubscribe(query: SubscribedQuery): void {
    this.subscribeAgain(query);
    forgetHash(query as QueryEntry);
  }

  /** Requests the result under a new id. */
  subscribeAgain(query: SubscribedQuery): void {
    const entry = this.#queries.get(query.id);
    if (!entry) return;
    this.#queries.delete(entry.id);
    entry.id = this.#nextId++;
    this.#queries.set(entry.id, entry);
  }

  /** Resets what belongs to the connection: the session ends with it. */
  reset(): void {
    this.#name = null;
    this.#seq = 0;
    this.#sent = new Set();
    for (const entry of this.#queries.values()) entry.interrupted = false;
  }

  /** Starts a new session and returns the queries for its opening, as many as fit into one message. */
  takeOpening(): QueryDescriptor[] {
    this.reset();
    return this.#takeUnsent([]);
  }

  /** Returns the changes not sent yet, as many as fit into one message, and marks them as sent. */
  takeChanges(): SessionChange {
    const remove = [...this.#sent].filter((id) => !this.#queries.has(id));
    for (const id of remove) this.#sent.delete(id);
    const [first] = this.#unsent();
    return { add: this.#takeUnsent(first === undefined ? [] : [first]), remove };
  }

  /** Marks the removals of `change` as unsent: the server refused the change for what it adds. */
  refused({ add, remove }: SessionChange): void {
    if (add.length > 0) for (const id of remove) this.#sent.add(id);
  }

  /** Fails `queries`, all of them by default. */
  fail(error: ConvoyError, queries: Iterable<{ readonly id: number }> = [...this.#queries.values()]): QueryEvent[] {
    return [...queries].flatMap(({ id }): QueryEvent[] => {
      const query = this.#queries.get(id);
      if (!query) return [];
      if (revokesData(error)) query.cached = null;
      return [{ query, type: 'failed', error }];
    });
  }

  apply(frame: readonly LiveMessage[]): FrameResult {
    const effects = new FrameEffects();
    let { name, seq } = { name: this.#name, seq: this.#seq };
    for (const message of frame) {
      if (message.seq !== seq) return { protocolError: `Received message ${message.seq}, expected ${seq}.` };
      seq += 1;
      if (message.type === 'session') name = name ?? message.session;
      else if (name === null && requiresSession(message))
        return { protocolError: `Received a ${message.type} message before the session was opened.` };
      const problem = this.#applyMessage(message, effects);
      if (problem !== null) return { protocolError: problem };
    }
    this.#name = name;
    this.#seq = seq;
    return effects.commit(this.#consistencyToken);
  }

  /** Records one message's effects in `effects`; returns the protocol error, if it is one. */
  #applyMessage(message: LiveMessage, effects: FrameEffects): string | null {
    switch (message.type) {
      case 'unknown':
        return null;
      case 'session':
      case 'settled':
      case 'included':
      case 'auth':
      case 'end':
        effects.sessionEvents.push(message);
        return null;
    }
    if (message.type === 'error' && message.id === undefined) {
      effects.sessionEvents.push(message);
      return null;
    }
    const entry = this.#queries.get(message.id as number);
    // The query was removed, and the server has not received the removal yet.
    if (!entry) return null;
    if (message.type === 'error') {
      effects.fail(entry, errorFromPayload(message.error));
      return null;
    }
    const cached = resultAfter(effects.cached(entry), message);
    if (cached === null) {
      forgetHash(entry);
      return `A ${message.type} message for ${entry.name} does not match the cached result.`;
    }
    effects.update(entry, cached, message);
    return null;
  }

  #unsent(): QueryEntry[] {
    return [...this.#queries.values()].filter(({ id }) => !this.#sent.has(id));
  }

  /** Marks `first` and as many other unsent queries as fit beside it as sent, and returns their descriptors. */
  #takeUnsent(first: readonly QueryEntry[]): QueryDescriptor[] {
    const taken = new Set(first);
    let room = MAX_ARGS_CHARS - first.reduce((sum, { args }) => sum + args.length, 0);
    for (const entry of this.#unsent()) {
      if (taken.has(entry) || entry.args.length > room) continue;
      taken.add(entry);
      room -= entry.args.length;
    }
    return [...taken].map(({ id, name, args, cached }) => {
      this.#sent.add(id);
      const descriptor = { id, name, args: JSON.parse(args) };
      return cached === null || cached.hash === '' ? descriptor : { ...descriptor, hash: cached.hash };
    });
  }
}

/** Collects a frame's effects while it is read, so that a frame with a protocol error has none. */
class FrameEffects {
  readonly queryEvents: QueryEvent[] = [];
  readonly sessionEvents: SessionEvent[] = [];
  /** The entries as the frame leaves them. */
  readonly #drafts = new Map<QueryEntry, Draft>();
  readonly #positions: (string | undefined)[] = [];

  cached(entry: QueryEntry): CachedResult | null {
    return this.#draft(entry).cached;
  }

  update(entry: QueryEntry, cached: CachedResult, message: LiveMessageOf<'result' | 'rows' | 'same'>): void {
    const { position } = message;
    const type = message.type === 'same' ? 'same' : 'result';
    Object.assign(this.#draft(entry), { cached, position });
    this.#positions.push(position);
    this.#setInterrupted(entry, false);
    const version = { hash: cached.hash, position: position ?? '' };
    const patch = message.type === 'rows' ? message : undefined;
    this.queryEvents.push({
      query: entry,
      ...(type === 'same' ? { type } : { type, data: cached.data, version, patch }),
    });
  }

  fail(entry: QueryEntry, error: ConvoyError): void {
    // The cached result may still be current.
    if (error.code === 'UNAVAILABLE') {
      this.#setInterrupted(entry, true);
      return;
    }
    if (revokesData(error)) this.#draft(entry).cached = null;
    this.#setInterrupted(entry, false);
    this.queryEvents.push({ query: entry, type: 'failed', error });
  }

  commit(consistencyToken: ConsistencyToken): FrameResult {
    for (const [entry, draft] of this.#drafts) Object.assign(entry, draft);
    for (const position of this.#positions) consistencyToken.advance(position);
    return { protocolError: null, queryEvents: this.queryEvents, sessionEvents: this.sessionEvents };
  }

  #setInterrupted(entry: QueryEntry, interrupted: boolean): void {
    const draft = this.#draft(entry);
    if (interrupted === draft.interrupted) return;
    draft.interrupted = interrupted;
    this.queryEvents.push({ query: entry, type: 'interrupted' });
  }

  #draft(entry: QueryEntry): Draft {
    const { cached, position, interrupted } = entry;
    const draft = this.#drafts.get(entry) ?? { cached, position, interrupted };
    this.#drafts.set(entry, draft);
    return draft;
  }
}

type Draft = Pick<QueryEntry, 'cached' | 'position' | 'interrupted'>;

/** The cached result after `message`; null where the message does not match the one before. */
function resultAfter(
  cached: CachedResult | null,
  message: LiveMessageOf<'result' | 'rows' | 'same'>,
): CachedResult | null {
  const { hash } = message;
  switch (message.type) {
    case 'result':
      return hash !== '' && cached?.hash === hash
        ? cached
        : cachedResult(hash, replaceEqualDeep(cached?.data, message.data));
    case 'same':
      return cached?.hash === hash ? cached : null;
    case 'rows': {
      if (cached?.hash !== message.from) return null;
      const data = applyPatch(cached.list, message);
      return data === null ? null : cachedResult(hash, data);
    }
  }
}

function requiresSession({ type }: LiveMessage): boolean {
  return ['result', 'rows', 'same', 'settled', 'included'].includes(type);
}

function cachedResult(hash: string, data: unknown, list: unknown = data): CachedResult {
  return { hash, data, list: hash === '' ? null : copyList(list) };
}

/** Keeps the data: it stays displayed, and keeps its identity when the next result is equal. */
function forgetHash(entry: QueryEntry): void {
  if (entry.cached) entry.cached = cachedResult('', entry.cached.data);
}
