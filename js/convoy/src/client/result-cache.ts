/**
 * Results of live queries in a store that outlives the page, each with the hash by which the server names it. The content
 * of the store for one scope is in memory, apart from the objects that the application has: what it does with a result
 * does not change it.
 */
import type { CacheOptions } from './cached-transport.js';
import { scopeOf } from './check-options.js';
import { isLater } from './consistency-token.js';
import { SentData } from './sent-data.js';
import { replaceEqualDeep } from './structural-sharing.js';
import type { InitialResult, QueryAnswer, ResultVersion, SubscribeRequest, SubscriptionSink } from './transport.js';
import { unref } from './unref.js';
import { listenToPage } from './visibility.js';

const DAY_MS = 24 * 60 * 60_000;
const MAX_BYTES = 4 * 1024 * 1024;
/** How long changes are collected before they are written. */
const WRITE_AFTER_MS = 500;
/** A result that the server confirms is written again only if it was stored this long ago. */
const CONFIRM_AFTER_MS = 60_000;

/** The result of a query for one user. */
export interface CacheEntry {
  readonly name: string;
  /** Canonical JSON. */
  readonly args: string;
  readonly scope: string;
}

interface SentResult extends ResultVersion {
  readonly data: SentData;
}

interface StoredResult extends SentResult {
  /** When the server has sent or confirmed it, in milliseconds since 1970. */
  readonly at: number;
}

export class ResultCache {
  readonly #options: CacheOptions;
  readonly #prefix: string;
  #scope: string | null;
  /** The results of the present scope, by their keys in the store. */
  #results = new Map<string, StoredResult>();
  /** The keys that are queued next. */
  readonly #changed = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /**
   * The keys whose result in the store is replaced or deleted, one after the other. Keys only: of a store that does not
   * respond, the newest result of each waits, and no more results than `maxBytes` allows.
   */
  readonly #queued = new Set<string>();
  /** The keys that the store may have. */
  readonly #inStore = new Set<string>();
  /** All results in the store are deleted, before anything queued. */
  #mustClear = false;
  #isStoring = false;
  readonly #stopListening: () => void;
  #hasWarned = false;

  private constructor(options: CacheOptions, name: string, scope: string | null) {
    this.#options = options;
    this.#prefix = `convoy.result ${name} `;
    this.#scope = scope;
    this.#stopListening = listenToPage({ hidden: () => this.#write(), left: () => this.#write() });
  }

  /** Reads the store. `scope` has signed in before, if not now; `callerChanged` then deletes its results. */
  static async open(options: CacheOptions, name: string, scope: string | null): Promise<ResultCache> {
    const cache = new ResultCache(options, name, scope ?? cacheScope(options));
    try {
      await cache.#read();
    } catch (error) {
      cache.close();
      throw error;
    }
    return cache;
  }

  /**
   * Begins a subscription: with the kept result, which `sink` then displays, unless `initial` is as new or has no order to
   * it. `onAnswer` keeps what the server answers.
   */
  begin(
    entry: CacheEntry,
    initial: InitialResult | undefined,
    sink: Pick<SubscriptionSink, 'initial'>,
  ): Required<Pick<SubscribeRequest, 'initial' | 'onAnswer'>> {
    const stored = this.#stored(entry);
    const newer = stored === undefined ? undefined : newerThan(initial, stored);
    if (newer !== undefined) sink.initial?.(newer.data);
    /** The last result; `null` where it is known only as the application may have changed it. */
    let last: SentResult | null = null;
    if (stored !== undefined && (newer !== undefined || stored.hash === initial?.hash)) last = stored;
    else if (initial?.text !== undefined) last = { ...initial, data: SentData.of(initial.text) };
    return {
      initial: newer ?? initial,
      onAnswer: (answer) => {
        if (answer.type === 'result') last = resultOf(answer, last);
        if (answer.type !== 'failed' && last !== null) this.#set(entry, last);
      },
    };
  }

  #stored({ name, args, scope }: CacheEntry): StoredResult | undefined {
    const stored = this.#isOf(scope) ? this.#results.get(this.#keyOf(name, args)) : undefined;
    return stored === undefined || this.#isExpired(stored) ? undefined : stored;
  }

  /** The server has sent or confirmed a result. */
  #set({ name, args, scope }: CacheEntry, { hash, position, data }: SentResult): void {
    if (!this.#isOf(scope)) return;
    const key = this.#keyOf(name, args);
    const stored = this.#results.get(key);
    const at = Date.now();
    if (stored?.data !== data || at - stored.at > CONFIRM_AFTER_MS) this.#put(key, { at, hash, position, data });
  }

  /** Deletes all results, those that other tabs have stored included. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#results = new Map();
    this.#changed.clear();
    this.#queued.clear();
    this.#mustClear = true;
    void this.#store();
  }

  /** Deletes the results of the one who was signed in before, if that has changed. */
  callerChanged(): void {
    const scope = cacheScope(this.#options);
    if (scope === this.#scope) return;
    this.#scope = scope;
    this.clear();
  }

  /** Writes what has changed, and ends. */
  close(): void {
    this.#write();
    this.#stopListening();
  }

  /** Whether `scope` is signed in. */
  #isOf(scope: string): boolean {
    this.callerChanged();
    return scope === this.#scope;
  }

  #isExpired({ at }: StoredResult): boolean {
    const age = Date.now() - at;
    return age > (this.#options.maxAgeMs ?? DAY_MS) || age < -DAY_MS;
  }

  get #ownPrefix(): string {
    return `${this.#prefix}${JSON.stringify([this.#options.build ?? '', this.#scope])} `;
  }

  #keyOf(name: string, args: string): string {
    return `${this.#ownPrefix}${name} ${args}`;
  }

  #put(key: string, stored: StoredResult): void {
    // The newest last.
    this.#results.delete(key);
    this.#results.set(key, stored);
    this.#changed.add(key);
    this.#timer ??= setTimeout(() => this.#write(), WRITE_AFTER_MS);
    unref(this.#timer);
  }

  /** Reads the results of this scope and build, and deletes those of others, while someone is signed in. */
  async #read(): Promise<void> {
    if (this.#scope === null) return;
    const { store } = this.#options;
    const found: [string, StoredResult][] = [];
    const read = async (key: string) => {
      const text = key.startsWith(this.#ownPrefix) ? await store.get(key) : null;
      const stored = text === null ? null : parse(text);
      if (stored === null || this.#isExpired(stored)) await store.delete(key);
      else found.push([key, stored]);
    };
    // Queries wait for it, so at the same time.
    await Promise.all((await store.keys(this.#prefix)).map(read));
    this.#results = new Map(found.sort(([, a], [, b]) => a.at - b.at));
    for (const key of this.#results.keys()) this.#inStore.add(key);
  }

  /** Deletes the oldest results beyond the size limit, and writes all changes. */
  #write(): void {
    // Another tab may have signed the user out.
    this.callerChanged();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { maxBytes = MAX_BYTES } = this.#options;
    let bytes = 0;
    for (const [key, { data }] of [...this.#results].reverse()) {
      const size = 2 * (key.length + data.text.length);
      // One that is too large by itself does not displace the others.
      bytes += size > maxBytes ? 0 : size;
      if (Math.max(size, bytes) <= maxBytes) continue;
      this.#results.delete(key);
      this.#changed.add(key);
    }
    for (const key of this.#changed) {
      if (this.#results.has(key) || this.#inStore.has(key)) this.#queued.add(key);
      else this.#queued.delete(key);
    }
    this.#changed.clear();
    void this.#store();
  }

  /** Brings the store up to date, by one operation at a time. Where it fails, the page goes on without. */
  async #store(): Promise<void> {
    if (this.#isStoring) return;
    this.#isStoring = true;
    while (this.#mustClear || this.#queued.size > 0) {
      const mustClear = this.#mustClear;
      this.#mustClear = false;
      try {
        await (mustClear ? this.#clearStore() : this.#storeNext());
      } catch (error) {
        if (!this.#hasWarned)
          console.warn('Convoy: results of live queries are not kept, because their store fails.', error);
        this.#hasWarned = true;
        // Nothing is stored before: it is tried again with the next change, or when the page is hidden.
        if (mustClear) {
          this.#mustClear = true;
          break;
        }
      }
    }
    this.#isStoring = false;
  }

  /** Deletes as much as it can; throws where something is left. */
  async #clearStore(): Promise<void> {
    const { store } = this.#options;
    const keys = await store.keys(this.#prefix);
    const left: unknown[] = [];
    for (const key of keys) await store.delete(key).catch((error: unknown) => left.push(error));
    if (left.length > 0) throw left[0];
    this.#inStore.clear();
  }

  async #storeNext(): Promise<void> {
    const [key = ''] = this.#queued;
    this.#queued.delete(key);
    const stored = this.#results.get(key);
    if (stored === undefined) {
      this.#inStore.delete(key);
      await this.#options.store.delete(key);
    } else {
      this.#inStore.add(key);
      await this.#options.store.set(key, JSON.stringify({ ...stored, data: stored.data.text }));
    }
  }
}

/** The kept result, if the server has made it after `initial`, which is displayed already. */
function newerThan(initial: InitialResult | undefined, kept: SentResult): InitialResult | undefined {
  const { hash, position, data } = kept;
  // Without an order, such as of two server processes, the page has probably just arrived with `initial`.
  if (initial !== undefined && !isLater(position, initial.position)) return undefined;
  return { data: replaceEqualDeep(initial?.data, JSON.parse(data.text)), hash, position };
}

/** The result after an answer; `null` where the application may have changed a part of it. */
function resultOf(
  { data, version, patch }: Extract<QueryAnswer, { type: 'result' }>,
  last: SentResult | null,
): SentResult | null {
  // Then the displayed objects stay, and the application may have changed them.
  if (version.hash !== '' && version.hash === last?.hash) return last;
  if (patch === undefined) {
    const text = JSON.stringify(data);
    // Results of polling have no hash, and most are equal to the one before.
    if (version.hash === '' && last?.hash === '' && text === last.data.text) return last;
    return { ...version, data: SentData.of(text) };
  }
  const patched = last?.hash === patch.from ? last.data.patched(patch) : null;
  return patched && { ...version, data: patched };
}

/** The options whose `scope` has failed: each logs one error. */
const failed = new WeakSet<CacheOptions>();

/** Who is signed in. Where that is unknown, `null`: nothing is displayed to the wrong one, and nothing is kept. */
export function cacheScope(options: CacheOptions): string | null {
  try {
    return scopeOf(options);
  } catch (error) {
    if (!failed.has(options))
      console.error('Convoy: results of live queries are not kept, because it is unknown who is signed in.', error);
    failed.add(options);
    return null;
  }
}

/** `null` where something else has written the text. */
function parse(text: string): StoredResult | null {
  try {
    const { at, hash, position, data } = JSON.parse(text);
    JSON.parse(data);
    return typeof data === 'string' &&
      typeof at === 'number' &&
      typeof hash === 'string' &&
      typeof position === 'string'
      ? { at, hash, position, data: SentData.of(data) }
      : null;
  } catch {
    return null;
  }
}
