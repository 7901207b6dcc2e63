/**
 * Optimistic updates: each mutation in progress may have a function that changes the results on display, a *layer* over
 * what the server sent. The layers are applied again, in the order of their mutations, whenever the server's results or
 * the layers change.
 *
 * A layer stops applying to a query with the result that has the mutation's changes. Which result that is, the session
 * reports. Without a session to report it (the connection was lost after the mutation was sent), any result may have
 * the changes or not. Then the queries that the layer changes are *frozen*: they keep their last result until the
 * mutation is answered and they are answered again after it.
 */
import { nameOfRef } from '../protocol/name-of-ref.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { Id } from '../values/ids.js';
import { canonicalArgs } from './canonical.js';
import type { SharedQuery } from './shared-query.js';
import type { QuerySnapshot } from './snapshot.js';
import { TempIds } from './temp-ids.js';

/**
 * The results of live queries, as an optimistic update reads and changes them. All values are copies: they may be
 * changed in place.
 */
export interface OptimisticStore {
  /** The displayed result of a query; `undefined` where none is cached. */
  get<Ref extends ApiRef>(ref: QueryArgument<Ref, Hooks>, args: ArgsOfRef<Ref>): ResultOfRef<Ref> | undefined;
  /** Displays another result of a query. Nothing happens where none is cached. */
  set<Ref extends ApiRef>(
    ref: QueryArgument<Ref, Hooks>,
    args: ArgsOfRef<Ref>,
    value: ResultOfRef<Ref> | ((previous: ResultOfRef<Ref>) => ResultOfRef<Ref>),
  ): void;
  /** The displayed results of a query for all arguments with a cached one. */
  all<Ref extends ApiRef>(
    ref: QueryArgument<Ref, Hooks>,
  ): { readonly args: ArgsOfRef<Ref>; readonly value: ResultOfRef<Ref> }[];
  /**
   * An id for a document that the mutation will create: the same each time that the update is applied. When the
   * mutation's result contains the real id, `client.keyOf` returns this one for it.
   */
  tempId<Table extends string>(table: Table): Id<Table>;
}

/** Changes the displayed results. It is called again whenever they change below it, so it must depend on nothing else. */
export type OptimisticUpdate = (store: OptimisticStore) => void;

/** The cached live queries. */
export interface QueryCache {
  find(name: string, args: string): SharedQuery | undefined;
  all(name: string): SharedQuery[];
  /** Those that display an older result than the one that the session reports about. */
  behindReports(): SharedQuery[];
  /** A displayed result may have changed. */
  changed(): void;
}

export class OptimisticLayers {
  readonly #cache: QueryCache;
  #layers: OptimisticLayer[] = [];
  /** What queries display in place of the server's data. */
  #displayed = new Map<SharedQuery, unknown>();
  #outdated = false;
  /** The functions of the application are called. */
  #isApplying = false;

  constructor(cache: QueryCache) {
    this.#cache = cache;
  }

  /** The layers in the order in which they are applied. */
  get all(): readonly OptimisticLayer[] {
    return this.#layers;
  }

  /** Applies `update` of a mutation from now on, until the layer ends. Throws what the update throws. */
  add(update: OptimisticUpdate, call?: PendingCall): OptimisticLayer {
    this.refuseWhileApplying();
    const layer = new OptimisticLayer(update, call, {
      changed: () => this.#changed(),
      behindReports: () => this.#cache.behindReports(),
      apply: () => this.apply(),
      remove: () => {
        this.#layers = this.#layers.filter((each) => each !== layer);
      },
    });
    this.apply();
    this.#layers.push(layer);
    const error = this.#run(layer, this.#displayed);
    if (error !== null) {
      layer.rollBack();
      throw error.thrown;
    }
    for (const query of layer.changed) query.display({ data: this.#displayed.get(query) });
    this.#cache.changed();
    return layer;
  }

  /** Throws in an optimistic update, which may be called at any time and any number of times. */
  refuseWhileApplying(): void {
    if (this.#isApplying) throw new TypeError('A mutation cannot be called in an optimistic update.');
  }

  /** The server's data of a query has changed. */
  invalidate(): void {
    this.#outdated = true;
  }

  /** Makes all queries display their data with the layers applied. A layer that throws has no effect. */
  apply(): void {
    if (!this.#outdated || this.#isApplying) return;
    this.#outdated = false;
    for (const layer of [...this.#layers]) layer.removeWhenDone();
    const displayed = new Map<SharedQuery, unknown>();
    for (const layer of this.#layers) {
      const error = this.#run(layer, displayed);
      if (error === null) continue;
      // The mutation itself goes on.
      if (!layer.hasFailed) console.error('Convoy: an optimistic update failed, and is ignored:', error.thrown);
      layer.hasFailed = true;
    }
    for (const query of this.#displayed.keys()) if (!displayed.has(query)) query.display(null);
    for (const [query, data] of displayed) query.display({ data });
    this.#displayed = displayed;
  }

  /** Applies one layer over those below, whose results are in `displayed`. Returns what it throws. */
  #run(layer: OptimisticLayer, displayed: Map<SharedQuery, unknown>): { readonly thrown: unknown } | null {
    const changes = new Changes(this.#cache, displayed, layer);
    this.#isApplying = true;
    try {
      refusePromise(layer.update(changes));
    } catch (thrown) {
      return { thrown };
    } finally {
      this.#isApplying = false;
    }
    layer.changed = new Set(changes.values.keys());
    for (const [query, value] of changes.values) displayed.set(query, value);
    return null;
  }

  #changed(): void {
    this.#outdated = true;
    this.#cache.changed();
  }
}

function refusePromise(returned: unknown): void {
  if (typeof (returned as PromiseLike<unknown> | undefined)?.then !== 'function') return;
  (returned as PromiseLike<unknown>).then(undefined, () => {});
  throw new TypeError('An optimistic update must not be asynchronous.');
}

/** A mutation that was called and has not ended. */
export interface PendingCall {
  /** The name of the function: `messages.send`. */
  readonly name: string;
  /** Canonical JSON. */
  readonly args: string;
}

interface LayerHooks {
  changed(): void;
  behindReports(): SharedQuery[];
  apply(): void;
  remove(): void;
}

/** The optimistic update of one mutation. */
export class OptimisticLayer {
  readonly update: OptimisticUpdate;
  /** Its mutation. */
  readonly call: PendingCall | undefined;
  /** The queries that it changed when it was last applied. */
  changed: ReadonlySet<SharedQuery> = new Set();
  /** The ids that it has given to new documents, in the order of its calls. */
  readonly tempIds: string[] = [];
  /** Its error was logged. */
  hasFailed = false;
  readonly #hooks: LayerHooks;
  /** The queries whose displayed result has the mutation's changes, as far as the session reports queries one by one. */
  readonly #included = new Set<SharedQuery>();
  #settled = false;
  /** The queries that display an older result, although the mutation is settled. */
  readonly #unsettled = new Set<SharedQuery>();
  /** The queries that it keeps frozen; it applies to no other query meanwhile. */
  #frozen: Set<SharedQuery> | null = null;

  constructor(update: OptimisticUpdate, call: PendingCall | undefined, hooks: LayerHooks) {
    this.update = update;
    this.call = call;
    this.#hooks = hooks;
  }

  /** Whether it may change a query: not one whose displayed result has the mutation's changes already. */
  appliesTo(query: SharedQuery): boolean {
    if (this.#settled) return this.#unsettled.has(query);
    if (this.#frozen !== null) return this.#frozen.has(query) && query.isFrozen;
    return !this.#included.has(query);
  }

  /** The latest results of these queries have the mutation's changes. */
  include(queries: Iterable<SharedQuery>): void {
    for (const query of queries) this.#whenCaughtUp(query, () => this.#included.add(query));
    this.#hooks.changed();
  }

  /** The latest results of all queries have the mutation's changes. */
  settle(): void {
    if (this.#settled) return;
    this.#thaw();
    this.#settled = true;
    for (const query of this.#hooks.behindReports()) {
      if (this.#included.has(query)) continue;
      this.#unsettled.add(query);
      this.#whenCaughtUp(query, () => this.#unsettled.delete(query));
    }
    this.#hooks.changed();
  }

  /** No session reports the mutation, whose request was sent: from now on, any result may have its changes. */
  freeze(): void {
    if (this.#frozen !== null || this.#settled) return;
    this.#hooks.apply();
    this.#frozen = new Set([...this.changed].filter((query) => !this.#included.has(query)));
    for (const query of this.#frozen) query.freeze(this);
  }

  /** Ends the layer when the queries that it changes are read again. The mutation is committed. */
  endWhenReadAgain(onEnd: () => void): void {
    this.freeze();
    const missing = new Set(this.#frozen);
    const end = () => {
      this.settle();
      onEnd();
    };
    if (missing.size === 0) end();
    for (const query of [...missing]) {
      query.refresh(() => {
        // At once: another query may not be answered for long.
        query.thaw(this);
        this.#whenCaughtUp(query, () => {
          this.#frozen?.delete(query);
          this.#included.add(query);
        });
        this.#hooks.changed();
        missing.delete(query);
        if (missing.size === 0) end();
      });
    }
  }

  /** Takes its effect back: the mutation has failed. */
  rollBack(): void {
    this.#thaw();
    this.#settled = true;
    this.#unsettled.clear();
    this.#hooks.remove();
    this.#hooks.changed();
  }

  /** Removes it when it applies to no query any more. */
  removeWhenDone(): void {
    if (this.#settled && this.#unsettled.size === 0) this.#hooks.remove();
  }

  /** Calls `act` when the query displays the result that the session reports about: now, or later. */
  #whenCaughtUp(query: SharedQuery, act: () => void): void {
    if (!query.isBehindReports) act();
    else {
      query.whenCaughtUp(() => {
        act();
        this.#hooks.changed();
      });
    }
  }

  #thaw(): void {
    for (const query of this.#frozen ?? []) query.thaw(this);
    this.#frozen = null;
  }
}

/** The store for one application of one layer: the results that it changes, over those of the layers below. */
class Changes implements OptimisticStore {
  readonly values = new Map<SharedQuery, unknown>();
  readonly #cache: QueryCache;
  readonly #below: ReadonlyMap<SharedQuery, unknown>;
  readonly #layer: OptimisticLayer;
  #usedTempIds = 0;

  constructor(cache: QueryCache, below: ReadonlyMap<SharedQuery, unknown>, layer: OptimisticLayer) {
    this.#cache = cache;
    this.#below = below;
    this.#layer = layer;
  }

  get<Ref extends ApiRef>(ref: QueryArgument<Ref, Hooks>, args: ArgsOfRef<Ref>): ResultOfRef<Ref> | undefined {
    const query = this.#find(ref, args);
    return query === undefined ? undefined : (this.#copyOf(query) as ResultOfRef<Ref>);
  }

  set<Ref extends ApiRef>(ref: QueryArgument<Ref, Hooks>, args: ArgsOfRef<Ref>, value: unknown): void {
    const query = this.#find(ref, args);
    if (query === undefined || !this.#layer.appliesTo(query)) return;
    const next: unknown = typeof value === 'function' ? value(this.#copyOf(query)) : value;
    const text = JSON.stringify(next);
    if (text === undefined) throw new TypeError(`The optimistic update of ${nameOfRef(ref)} returned no JSON value.`);
    this.values.set(query, JSON.parse(text));
  }

  all<Ref extends ApiRef>(
    ref: QueryArgument<Ref, Hooks>,
  ): { readonly args: ArgsOfRef<Ref>; readonly value: ResultOfRef<Ref> }[] {
    const cached = this.#cache.all(nameOfRef(ref)).filter(({ base }) => hasResult(base));
    return cached.map((query) => ({
      args: JSON.parse(query.request.args) as ArgsOfRef<Ref>,
      value: this.#copyOf(query) as ResultOfRef<Ref>,
    }));
  }

  tempId<Table extends string>(table: Table): Id<Table> {
    const { tempIds } = this.#layer;
    const id = tempIds[this.#usedTempIds] ?? TempIds.create(table);
    tempIds[this.#usedTempIds++] = id;
    // Sound where the id is only displayed, or sent to mutations, which replace it.
    return id as Id<Table>;
  }

  #find(ref: ApiRef, args: unknown): SharedQuery | undefined {
    const query = this.#cache.find(nameOfRef(ref), canonicalArgs(args));
    return query !== undefined && hasResult(query.base) ? query : undefined;
  }

  #copyOf(query: SharedQuery): unknown {
    const layers = [this.values, this.#below];
    const layer = layers.find((each) => each.has(query));
    return JSON.parse(JSON.stringify(layer === undefined ? query.base.data : layer.get(query)));
  }
}

function hasResult({ status, data }: QuerySnapshot<unknown>): boolean {
  return status === 'success' || (status === 'error' && data !== null);
}
