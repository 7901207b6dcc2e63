/**
 * Sends the mutations of one client: one after the other, each when the one before is committed, so that the server
 * applies them in the order of their calls. Without a response a mutation is sent again with the same idempotency key,
 * so that it takes effect once.
 */
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { isUnsent, scopeOf } from './check-options.js';
import { isUnanswered } from './endpoint.js';
import { newIdempotencyKey } from './idempotency-key.js';
import { type LazyMutationsOptions, MAX_WAITING, tooManyWait, warnNotKept } from './lazy-mutations.js';
import type { LiveQueries } from './live-query.js';
import { loadedOptimistic, loadOptimistic, type OptimisticModule } from './load-optimistic.js';
import type { OptimisticLayer, OptimisticStore, PendingCall, QueryCache } from './optimistic-layers.js';
import type { PersistedMutation, PersistedMutations, PersistOptions } from './persisted-mutations.js';
import { retryAfterMs } from './retry-after.js';
import { MAX_IDS, TempIds } from './temp-ids.js';
import type { CallRequest, MutationTracker, SubscriptionSink, Transport } from './transport.js';
import { isOffline, listenToPage } from './visibility.js';

/** How long a committed mutation waits until its changes were sent to this client. */
export const SHOWN_TIMEOUT_MS = 1_000;
/** The upper bound of the first delay before a mutation is sent again; it doubles with each attempt. */
const BASE_DELAY_MS = 300;
const MAX_DELAY_MS = 10_000;
/** Without a network each request fails at once, and the browser logs it each time. */
const OFFLINE_DELAY_MS = 30_000;
/** How long a mutation is sent again, except while the client is reconnecting or offline. */
export const MAX_RETRY_MS = 10_000;
/**
 * How long an attempt may take: then the connection is probably lost. Another attempt, of a kept mutation or while the
 * client reconnects, gets the response that this one missed.
 */
export const MAX_ATTEMPT_MS = 60_000;
/** The same after the live connection was lost, which was probably the same network. */
export const MAX_ATTEMPT_AFTER_LOSS_MS = 10_000;
/** The server keeps responses for 24 hours: after that, a mutation that is sent again would take effect twice. */
export const MAX_AGE_MS = 23 * 60 * 60_000;

export interface MutationRequest
  extends Omit<CallRequest, 'kind' | 'idempotencyKey' | 'attempt' | 'signal' | 'tracker'> {
  /** The optimistic update; `args` are the arguments, with the ids of documents that are created by then. */
  // biome-ignore lint/suspicious/noExplicitAny: the types of `args` are those of the reference.
  readonly optimistic?: ((store: OptimisticStore, args: any) => void) | undefined;
  /** The temporary ids that the caller displays for the documents that it creates. */
  readonly tempIds?: readonly string[] | undefined;
  /** Send it at once, instead of after those before. */
  readonly parallel: boolean;
  /** Resolve when it is committed, or also shown by all live queries. */
  readonly until: 'shown' | 'committed';
}

export interface MutationsOptions extends LazyMutationsOptions {
  /** Who was signed in when the client was created, where mutations are kept. */
  readonly firstScope: string | null;
}

export class Mutations {
  readonly tempIds = new TempIds();
  /** The mutations of this page that have not ended, in the order of their calls. */
  readonly pending = new Set<PendingCall>();
  readonly #transport: Transport;
  readonly #live: LiveQueries;
  readonly #closed = new AbortController();
  #persisted: PersistedMutations | null = null;
  /** Who is signed in, where mutations are kept. */
  readonly #scope: () => string | null;
  /** Parts of this code that mutations wait for. */
  #loading: Promise<unknown> | null = null;
  /** Starts each mutation that waits for them; `#waiting` limits their number. */
  #behindLoading: (() => void)[] = [];
  /** Ends each delay before another attempt. */
  readonly #delays = new Set<() => void>();
  /** Resolves when the last mutation in order has ended. */
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(transport: Transport, live: LiveQueries, { persist, name, firstScope }: MutationsOptions) {
    this.#transport = transport;
    this.#live = live;
    this.#scope = () => scopeOf(persist);
    if (persist) this.#load(this.#keep(persist, name, firstScope));
  }

  /** `caller` was signed in when the mutation was called. */
  async run(request: MutationRequest, caller: string | null): Promise<unknown> {
    this.#live.layers?.refuseWhileApplying();
    if (request.optimistic !== undefined) this.prepareOptimistic();
    const start = async () => {
      const scope = this.#scope();
      if (caller !== null && scope !== caller) throw signedOut(request.name);
      return this.#run(request);
    };
    // In `pagehide` there is no later moment.
    if (this.#loading === null || request.keepalive === true) return start();
    this.#refuseIfFull();
    this.#waiting += 1;
    return new Promise((resolve) =>
      this.#behindLoading.push(() => {
        this.#waiting -= 1;
        resolve(start());
      }),
    );
  }

  /** Loads the code of optimistic updates, unless it is loaded. */
  prepareOptimistic(): void {
    if (this.#live.layers !== null) return;
    const use = (code: OptimisticModule | null) => {
      if (code !== null) this.#live.layers ??= new code.OptimisticLayers(cacheOf(this.#live));
    };
    if (loadedOptimistic() === null) this.#load(loadOptimistic().then(use));
    else use(loadedOptimistic());
  }

  async #run({ optimistic, tempIds = [], parallel, until, ...call }: MutationRequest): Promise<unknown> {
    const isInOrder = !parallel && call.keepalive !== true;
    if (isInOrder) this.#refuseIfFull();
    const update = optimistic && ((store: OptimisticStore) => optimistic(store, this.#currentArgs(call)));
    const layer = update === undefined ? null : (this.#live.layers?.add(update, call) ?? null);
    const progress = new MutationProgress({ layer, tempIds, live: this.#live, ids: this.tempIds });
    const mutation = this.#persisted?.add(call) ?? null;
    const send = () => this.#send({ ...call, ...mutation?.call }, { mutation, tracker: progress });
    this.pending.add(call);
    this.#live.onChange?.();
    try {
      const data = await (isInOrder ? this.#inOrder(send) : send());
      void mutation?.delete();
      progress.committed(data);
      if (until === 'shown') await progress.shown(SHOWN_TIMEOUT_MS);
      return data;
    } catch (error) {
      layer?.rollBack();
      // Otherwise the next page sends it.
      if (!this.#closed.signal.aborted) void mutation?.delete();
      throw error;
    } finally {
      this.pending.delete(call);
      this.#live.onChange?.();
    }
  }

  /** A copy of the arguments, with the ids of documents that are created by now. */
  #currentArgs({ args }: PendingCall): unknown {
    return JSON.parse(this.tempIds.replaceIn(args));
  }

  /** The token or cookie of the caller has changed: someone else may be signed in. */
  callerChanged(): void {
    try {
      this.#persisted?.scope();
    } catch (error) {
      console.error(
        'Convoy: mutations that are kept stay in their store, because it is unknown who is signed in.',
        error,
      );
    }
  }

  /** Ends the delays of mutations that wait for another attempt; the transport ends those in flight. */
  close(): void {
    this.#closed.abort();
    for (const end of [...this.#delays]) end();
  }

  #refuseIfFull(): void {
    if (this.#waiting < MAX_WAITING) return;
    throw tooManyWait();
  }

  /** Makes mutations wait until a part of this code is loaded; they go on in the order of their calls. */
  #load(part: Promise<unknown>): void {
    const loading = Promise.all([this.#loading, part]).then(() => {
      if (this.#loading !== loading) return;
      // In one step: a mutation called in a microtask between two of them, or before the first, would overtake.
      for (const start of this.#behindLoading) start();
      this.#behindLoading = [];
      this.#loading = null;
    });
    this.#loading = loading;
  }

  /** Keeps mutations from now on, and sends those that earlier pages have kept first. */
  async #keep(options: PersistOptions, name: string, scope: string | null): Promise<void> {
    try {
      const { PersistedMutations } = await import('./persisted-mutations.js');
      const persisted = new PersistedMutations(options, name, { signal: this.#closed.signal, scope });
      this.#persisted = persisted;
      this.#last = persisted.recover((mutation) => this.#send(mutation.call, { mutation }));
    } catch (error) {
      warnNotKept(error);
    }
  }

  #inOrder(send: () => Promise<unknown>): Promise<unknown> {
    this.#waiting += 1;
    const result = this.#last.then(send).finally(() => {
      this.#waiting -= 1;
    });
    this.#last = result.catch(() => {});
    return result;
  }

  async #send(
    call: Omit<CallRequest, 'kind'>,
    { mutation, tracker }: { readonly mutation: PersistedMutation | null; readonly tracker?: MutationTracker },
  ): Promise<unknown> {
    const { idempotencyKey = newIdempotencyKey() } = call;
    let noResponse: unknown = null;
    // A mutation of an earlier page may have been sent there.
    const earlier = mutation?.firstSentAt ?? null;
    const firstSentAt = earlier ?? Date.now();
    let giveUpAt = Date.now() + MAX_RETRY_MS;
    for (let attempt = earlier === null ? 1 : 2; ; attempt++) {
      if (this.#closed.signal.aborted) throw noResponse ?? new ConvoyError('UNAVAILABLE', 'The client was closed.');
      if (Date.now() - firstSentAt > MAX_AGE_MS) throw outcomeUnknown(call.name, 'for 23 hours', noResponse);
      const args = this.tempIds.replaceIn(call.args);
      if (TempIds.isIn(args)) throw notCreated(call.name);
      if (mutation?.isOfCaller === false) throw signedOut(call.name);
      const wasSent = mutation?.firstSentAt !== null;
      await mutation?.beforeSending();
      try {
        return await this.#attempt({ ...call, kind: 'mutation', args, idempotencyKey, attempt, tracker });
      } catch (error) {
        if (isUnsent(error)) {
          if (!wasSent) await mutation?.notSent();
          // A token cannot be renewed offline, so a mutation that is kept waits.
          const waits = mutation !== null && this.#isDisconnected() && !this.#closed.signal.aborted;
          if (!waits) throw noResponse ?? error;
          await this.#pause(attempt, 0);
          // The server has not seen this attempt.
          attempt -= 1;
          continue;
        }
        // Then it is still unknown whether an earlier attempt has taken effect.
        if (attempt > 1 && repeatable(error) === false)
          throw noResponse ?? outcomeUnknown(call.name, 'before the page was loaded', error);
        // A first attempt is the caller's to try again, unless there is none: it was kept by an earlier page. After an
        // attempt without a response, the mutation may have taken effect, so a refusal of this one is no answer.
        const refusedForMs = attempt > 1 || mutation !== null ? retryAfterMs(error) : null;
        const isTransient = isUnanswered(error) || repeatable(error) === true || refusedForMs !== null;
        if (this.#closed.signal.aborted || !isTransient) throw error;
        if (refusedForMs === null || noResponse === null) noResponse = error;
        const wasDisconnected = this.#isDisconnected();
        await this.#pause(attempt, refusedForMs ?? 0);
        if (wasDisconnected || this.#isDisconnected()) giveUpAt = Date.now() + MAX_RETRY_MS;
        else if (mutation === null && Date.now() > giveUpAt) throw noResponse;
      }
    }
  }

  /** Sends it once. Without a response for too long, the attempt ends. */
  async #attempt(request: CallRequest): Promise<unknown> {
    const ended = new AbortController();
    const end = () => ended.abort();
    let timer = setTimeout(end, MAX_ATTEMPT_MS);
    const { connection } = this.#live;
    const stopListening = connection.subscribe(() => {
      if (connection.getSnapshot() !== 'connecting') return;
      clearTimeout(timer);
      timer = setTimeout(end, MAX_ATTEMPT_AFTER_LOSS_MS);
    });
    try {
      return await this.#transport.call({ ...request, signal: ended.signal });
    } finally {
      clearTimeout(timer);
      stopListening();
    }
  }

  /** The client will notice by itself when the server can be reached again. */
  #isDisconnected(): boolean {
    return isOffline() || this.#live.connection.getSnapshot() === 'connecting';
  }

  /** Waits with exponential backoff and full jitter, but no longer than until the client is connected again. */
  #pause(attempt: number, atLeastMs: number): Promise<void> {
    const backoffMs = atLeastMs + Math.random() * Math.min(BASE_DELAY_MS * 2 ** (attempt - 1), MAX_DELAY_MS);
    const delayMs = isOffline() ? OFFLINE_DELAY_MS : backoffMs;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        stopListeningToConnection();
        stopListeningToPage();
        this.#delays.delete(end);
        resolve();
      };
      let timer = setTimeout(end, delayMs);
      const stayOffline = () => {
        clearTimeout(timer);
        timer = setTimeout(end, OFFLINE_DELAY_MS);
      };
      const { connection } = this.#live;
      const stopListeningToConnection = connection.subscribe(() => connection.getSnapshot() === 'open' && end());
      const stopListeningToPage = listenToPage({ online: end, offline: stayOffline });
      this.#delays.add(end);
    });
  }
}

interface MutationProgressOptions {
  readonly layer: OptimisticLayer | null;
  readonly tempIds: readonly string[];
  readonly live: LiveQueries;
  readonly ids: TempIds;
}

/** The changes of one mutation, from its call until all live queries of the client have them. */
class MutationProgress implements MutationTracker {
  readonly #layer: OptimisticLayer | null;
  readonly #live: LiveQueries;
  readonly #tempIds: readonly string[];
  readonly #ids: TempIds;
  readonly #isShown: Promise<void>;
  #setShown = () => {};
  #isCommitted = false;
  /** A session reports which results have the changes. */
  #isReported = false;
  /** A result with the changes may be displayed. */
  #isDisplayed = false;

  constructor({ layer, tempIds, live, ids }: MutationProgressOptions) {
    this.#layer = layer;
    this.#live = live;
    this.#tempIds = tempIds;
    this.#ids = ids;
    this.#isShown = new Promise((resolve) => {
      this.#setShown = resolve;
    });
  }

  tracked(): void {
    this.#isReported = true;
  }

  included(sinks: readonly SubscriptionSink[], result?: unknown): void {
    this.#resolveIds(result);
    this.#layer?.include([...this.#live.all].filter((query) => sinks.includes(query)));
    this.#isDisplayed = true;
  }

  settled(result?: unknown): void {
    this.#resolveIds(result);
    this.#layer?.settle();
    this.#isDisplayed = true;
    this.#setShown();
  }

  lost(): void {
    this.#isReported = false;
    this.#layer?.freeze();
    if (this.#isCommitted) this.#refresh();
  }

  committed(result: unknown): void {
    this.#resolveIds(result);
    this.#isCommitted = true;
    if (!this.#isReported) this.#refresh();
  }

  /** Resolves when all live queries have the changes, or after `timeoutMs`. */
  async shown(timeoutMs: number): Promise<void> {
    const timer = setTimeout(this.#setShown, timeoutMs);
    await this.#isShown;
    clearTimeout(timer);
  }

  #resolveIds(result: unknown): void {
    this.#ids.resolve([...this.#tempIds, ...(this.#layer?.tempIds ?? [])], result, this.#isDisplayed);
  }

  #refresh(): void {
    if (this.#layer === null) this.#setShown();
    else this.#layer.endWhenReadAgain(this.#setShown);
  }
}

/** The cache that optimistic updates change. */
function cacheOf(live: LiveQueries): QueryCache {
  return {
    find: (name, args) => live.find(name, args),
    all: (name) => [...live.all].filter(({ request }) => request.liveness === 'live' && request.name === name),
    behindReports: () => [...live.all].filter(({ isBehindReports }) => isBehindReports),
    changed: () => live.scheduleNotify(),
  };
}

/**
 * `true`: the server has certainly not run the mutation. `false`: it cannot find out whether an earlier attempt has taken
 * effect, and refused to run it again.
 */
function repeatable(error: unknown): unknown {
  return isConvoyError(error) ? (error.details as { repeatable?: unknown } | undefined)?.repeatable : undefined;
}

function outcomeUnknown(name: string, when: string, cause: unknown): ConvoyError {
  const message = `${name} had no response ${when}. It may be committed, and is not sent again.`;
  return new ConvoyError('UNAVAILABLE', message, { cause });
}

function signedOut(name: string): ConvoyError {
  return new ConvoyError('UNAUTHORIZED', `${name} was not sent: the user who called it has signed out.`);
}

function notCreated(name: string): ConvoyError {
  const why = `the mutation that creates the document has not ended or has failed, or ${MAX_IDS} documents were created since`;
  const message = `${name} was not sent: it has a temporary id, and ${why}.`;
  return new ConvoyError('INVALID_ARGS', message);
}
