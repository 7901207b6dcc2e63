/**
 * One subscription and its listeners. What listeners see is the latest snapshot of the server, with the data that
 * optimistic updates (`optimistic-layers.ts`) make of it.
 */
import type { ConvoyError } from '../values/errors.js';
import { notifyListeners } from './listeners.js';
import { oneShotQuery } from './one-shot-query.js';
import {
  PENDING,
  PENDING_UNCONNECTED,
  type QuerySnapshot,
  revokesData,
  withConnection,
  withFailure,
  withInitial,
  withResult,
  withSame,
} from './snapshot.js';
import { replaceEqualDeep } from './structural-sharing.js';
import type { ConnectionView, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

/** Whether a query keeps itself current, or is called once. */
export type Liveness = 'live' | 'once';

export interface QueryRequest extends SubscribeRequest {
  readonly liveness: Liveness;
}

export interface SharedQueryHooks {
  readonly retentionMs: number;
  /** The server's snapshot, or a pending refetch, has changed. */
  changed(): void;
  /** The snapshot is about to be read: optimistic updates have to be applied. */
  prepare(): void;
  /** The retention after the last listener is over. */
  expired(): void;
}

/** The snapshot of a query before its first listener. */
export function firstSnapshot({ liveness, initial }: QueryRequest): QuerySnapshot<unknown> {
  return withInitial(liveness === 'live' ? PENDING : PENDING_UNCONNECTED, initial);
}

export class SharedQuery implements SubscriptionSink {
  readonly request: QueryRequest;
  /** When the server has last sent or confirmed the result, in milliseconds since 1970; 0 until then. */
  updatedAt = 0;
  /** The latest snapshot of the server. */
  #base: QuerySnapshot<unknown>;
  /** What is displayed instead, with optimistic updates. */
  #overlay: QuerySnapshot<unknown> | null = null;
  readonly #subscription: Subscription;
  readonly #hooks: SharedQueryHooks;
  readonly #listeners = new Set<() => void>();
  /** The snapshot of the last notification. */
  #lastNotified: QuerySnapshot<unknown>;
  readonly #pendingRefetches: ((data: unknown) => void)[] = [];
  /** Refetches whose result has arrived; they resolve after the listeners are notified. */
  readonly #completedRefetches: (() => void)[] = [];
  /** While there are any, results that arrive are not displayed. */
  readonly #freezers = new Set<object>();
  /** The latest result that arrived while the query was frozen, and the failure after it. */
  #withheld: { readonly data: unknown; readonly error: ConvoyError | null } | null = null;
  readonly #awaitingReports: (() => void)[] = [];
  readonly #awaitingAnswer: (() => void)[] = [];
  #retentionTimer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;
  /** Displays a result of an earlier time, and no server has answered yet. */
  #isInitial: boolean;

  constructor(transport: Transport, request: QueryRequest, hooks: SharedQueryHooks) {
    this.request = request;
    this.#hooks = hooks;
    this.#base = firstSnapshot(request);
    this.#lastNotified = this.#base;
    this.#isInitial = request.initial !== undefined;
    this.#subscription =
      request.liveness === 'live' ? transport.subscribe(request, this) : oneShotQuery(transport, request, this);
  }

  get snapshot(): QuerySnapshot<unknown> {
    this.#hooks.prepare();
    return this.#overlay ?? this.#base;
  }

  get base(): QuerySnapshot<unknown> {
    return this.#base;
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }

  get isFrozen(): boolean {
    return this.#freezers.size > 0;
  }

  result(data: unknown): void {
    if (this.isFrozen) this.#withheld = { data, error: null };
    else this.#base = withResult(this.#base, data);
    this.#answered(data, true);
  }

  initial(data: unknown): void {
    // Also while it is frozen: a result of an earlier page has no changes of a mutation of this one.
    this.#base = withInitial(this.#base, { data });
    this.#isInitial = true;
    this.#hooks.changed();
  }

  same(): void {
    // With a withheld result, that one is still current.
    if (this.#withheld === null) this.#base = withSame(this.#base);
    else this.#withheld = { ...this.#withheld, error: null };
    this.#answered(this.#withheld === null ? this.#base.data : this.#withheld.data, true);
  }

  failed(error: ConvoyError): void {
    const isRevoked = revokesData(error);
    if (isRevoked) {
      this.#withheld = null;
      this.#freezers.clear();
    }
    if (this.#withheld !== null) this.#withheld = { ...this.#withheld, error };
    this.#base = withFailure(this.#base, error);
    // Another failure may be older than what `refresh` asks for.
    this.#answered(null, isRevoked);
  }

  connection(view: ConnectionView): void {
    this.#base = withConnection(this.#base, view);
    this.#hooks.changed();
  }

  listen(listener: () => void): () => void {
    clearTimeout(this.#retentionTimer);
    // Wrapped, so that one function subscribed twice is two listeners.
    const own = () => listener();
    this.#listeners.add(own);
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return;
      this.#retentionTimer = setTimeout(() => {
        this.stop();
        this.#hooks.expired();
      }, this.#hooks.retentionMs);
    };
  }

  isBehind(): boolean {
    return !this.#stopped && (this.#subscription.isBehind?.() ?? false);
  }

  refetch(): Promise<unknown> {
    // No further result will arrive.
    if (this.#stopped) return Promise.resolve(null);
    const result = new Promise<unknown>((resolve) => this.#pendingRefetches.push(resolve));
    this.#subscription.refresh();
    return result;
  }

  /** Requests the result again and calls `onAnswer` with the next answer, before any listener is notified. */
  refresh(onAnswer: () => void): void {
    if (this.#stopped) {
      onAnswer();
      return;
    }
    this.#awaitingAnswer.push(onAnswer);
    this.#subscription.refresh({ wake: false });
  }

  /** Whether it displays an older result than the one that the session reports about. */
  get isBehindReports(): boolean {
    const isWaiting = this.#isInitial || this.#pendingRefetches.length + this.#awaitingAnswer.length > 0;
    return !this.#stopped && (this.isFrozen || isWaiting);
  }

  /** Calls `onCaughtUp` once that is no longer so. */
  whenCaughtUp(onCaughtUp: () => void): void {
    this.#awaitingReports.push(onCaughtUp);
  }

  /** Keeps displaying the current result until `thaw`; results that arrive are withheld. */
  freeze(freezer: object): void {
    this.#freezers.add(freezer);
  }

  /** Ends one `freeze`; after the last, the latest result is displayed. */
  thaw(freezer: object): void {
    if (!this.#freezers.delete(freezer) || this.isFrozen) return;
    if (this.#withheld !== null) {
      const { data, error } = this.#withheld;
      const { connectionState, isReconnecting } = this.#base;
      this.#withheld = null;
      this.#base = withConnection(withResult(this.#base, data), { connectionState, isReconnecting });
      if (error !== null) this.#base = withFailure(this.#base, error);
      this.#hooks.changed();
    }
    this.#reportCaughtUp();
  }

  /** Displays `overlay` in place of the server's data; with `null`, the server's data. Takes ownership of the value. */
  display(overlay: { readonly data: unknown } | null): void {
    if (overlay === null) {
      this.#overlay = null;
      return;
    }
    const before = this.#overlay ?? this.#base;
    const data = replaceEqualDeep(before.data, overlay.data);
    const after = { ...this.#base, data } as QuerySnapshot<unknown>;
    this.#overlay = isSameSnapshot(before, after) ? before : after;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retentionTimer);
    this.#subscription.close();
    this.#base = withConnection(this.#base, { connectionState: 'closed', isReconnecting: false });
    this.#answered(null, true);
  }

  /** Notifies the listeners of a changed snapshot, and then resolves the completed refetches. */
  notify(): void {
    const { snapshot } = this;
    if (snapshot !== this.#lastNotified) {
      this.#lastNotified = snapshot;
      notifyListeners(this.#listeners);
    }
    for (const resolve of this.#completedRefetches.splice(0)) resolve();
  }

  /**
   * A result or failure has arrived, or none will: completes the pending refetches with `data`. `isCurrent`: it is as
   * new as `refresh` asked for.
   */
  #answered(data: unknown, isCurrent: boolean): void {
    this.#isInitial = false;
    if (isCurrent) this.updatedAt = Date.now();
    this.#completedRefetches.push(...this.#pendingRefetches.splice(0).map((resolve) => () => resolve(data)));
    this.#hooks.changed();
    if (isCurrent) for (const onAnswer of this.#awaitingAnswer.splice(0)) onAnswer();
    this.#reportCaughtUp();
  }

  #reportCaughtUp(): void {
    if (this.isBehindReports) return;
    for (const onCaughtUp of this.#awaitingReports.splice(0)) onCaughtUp();
  }
}

function isSameSnapshot(a: QuerySnapshot<unknown>, b: QuerySnapshot<unknown>): boolean {
  return (Object.keys(b) as (keyof QuerySnapshot<unknown>)[]).every((name) => a[name] === b[name]);
}
