/**
 * Mutations in a store that outlives the page, from their call until their end. A page that starts sends the ones that
 * earlier pages have left, in the order of their calls and with their idempotency keys, so that each takes effect once.
 * Of several pages, one does so.
 */
import type { ConvoyError } from '../values/errors.js';
import type { AsyncStore } from './async-store.js';
import { isUnsent, scopeOf } from './check-options.js';
import { newIdempotencyKey } from './idempotency-key.js';
import { holdLock, isLockHeld } from './page-locks.js';
import { unref } from './unref.js';

/** Keeps mutations over reloads and crashes of the page. */
export interface PersistOptions {
  /** Where they are kept, such as `indexedDbStore()`. */
  readonly store: AsyncStore;
  /**
   * Who is signed in, such as a user's id. A mutation is sent only while this returns what it returned at its call; when
   * it changes, the mutations of the one before are deleted. With `null` or `undefined`, nothing is
   * kept.
   */
  readonly scope: () => string | null | undefined;
  /** Called when a mutation of an earlier page fails; by default the error is logged. */
  readonly onError?: (error: ConvoyError, mutation: { readonly name: string; readonly args: unknown }) => void;
}

/** How often the mutations of pages that have ended meanwhile are looked for. */
const SCAN_INTERVAL_MS = 30_000;
/** How long mutations are kept of someone who does not sign in again. */
export const MAX_FOREIGN_AGE_MS = 7 * 24 * 60 * 60_000;

/** A mutation in the store, as JSON. */
interface StoredMutation {
  readonly owner: string;
  readonly scope: string;
  readonly idempotencyKey: string;
  readonly name: string;
  /** Canonical JSON. */
  readonly args: string;
  readonly calledAt: number;
  /** `null`: it was certainly not sent. */
  readonly firstSentAt: number | null;
}

/** A mutation of this page or an earlier one, as it is sent. */
export class PersistedMutation {
  #stored: StoredMutation;
  readonly #key: string;
  readonly #mutations: PersistedMutations;
  /** Resolves when the store has done everything so far. */
  #stores: Promise<unknown> = Promise.resolve();

  constructor(mutations: PersistedMutations, key: string, stored: StoredMutation) {
    this.#mutations = mutations;
    this.#key = key;
    this.#stored = stored;
  }

  get call(): { readonly name: string; readonly args: string; readonly idempotencyKey: string } {
    return this.#stored;
  }

  /** When it may have been sent first; `null` if it certainly was not. */
  get firstSentAt(): number | null {
    return this.#stored.firstSentAt;
  }

  /** Stores its present state. */
  write(): Promise<void> {
    const text = JSON.stringify(this.#stored);
    return this.#store((store) => store.set(this.#key, text));
  }

  /** The user who called it is signed in. */
  get isOfCaller(): boolean {
    return this.#mutations.scope() === this.#stored.scope;
  }

  /** Records that it is sent now. */
  async beforeSending(): Promise<void> {
    if (this.#stored.firstSentAt !== null) return;
    this.#stored = { ...this.#stored, firstSentAt: Date.now() };
    await this.write();
  }

  /** Records that it was not sent after all. */
  async notSent(): Promise<void> {
    this.#stored = { ...this.#stored, firstSentAt: null };
    await this.write();
  }

  /** It has ended. */
  delete(): Promise<void> {
    return this.#store((store) => store.delete(this.#key));
  }

  async #store(operation: (store: AsyncStore) => Promise<void>): Promise<void> {
    // Other pages take the mutations of a page that they cannot see.
    this.#stores = Promise.all([this.#mutations.announced, this.#stores]).then(() =>
      this.#mutations.attempt(operation),
    );
    await this.#stores;
  }
}

export class PersistedMutations {
  readonly #options: PersistOptions;
  readonly #prefix: string;
  readonly #signal: AbortSignal;
  /** Identifies this page among those that use the store. */
  readonly #owner = newIdempotencyKey();
  /** Resolves when other pages can see that this one is alive. */
  readonly announced: Promise<void>;
  #scope: string | null;
  #number = 0;
  #hasWarned = false;
  #isScanning = false;
  /** Why it is unknown who is signed in. */
  #scopeError: unknown;

  /** Clients with the same `name` share their mutations. `scope` has signed in before, if not now. */
  constructor(
    options: PersistOptions,
    name: string,
    { signal, scope }: { readonly signal: AbortSignal; readonly scope: string | null },
  ) {
    this.#options = options;
    this.#prefix = `convoy.mutation ${name} `;
    this.#signal = signal;
    this.announced = new Promise((resolve) => holdLock(lockOf(this.#owner), signal, resolve));
    this.#scope = scope;
    try {
      this.scope();
    } catch {
      // Each use reports it.
    }
  }

  /**
   * Who is signed in. When that has changed, the mutations of the one before are deleted. Throws where it is unknown, and
   * deletes nothing.
   */
  scope(): string | null {
    const [before, scope] = [this.#scope, this.#readScope()];
    if (before !== scope) {
      this.#scope = scope;
      if (before !== null) void this.#forget(before);
    }
    return scope;
  }

  #readScope(): string | null {
    try {
      return scopeOf(this.#options);
    } catch (error) {
      this.#scopeError = error;
      throw error;
    }
  }

  /** Stores a mutation that was called now; `null` where none is kept. */
  add(call: { readonly name: string; readonly args: string }): PersistedMutation | null {
    const scope = this.scope();
    if (scope === null) return null;
    const calledAt = Date.now();
    const order = [calledAt, this.#number++].map((part) => String(part).padStart(15, '0')).join('-');
    const { name, args } = call;
    const idempotencyKey = newIdempotencyKey();
    const stored = { owner: this.#owner, scope, idempotencyKey, name, args, calledAt, firstSentAt: null };
    const mutation = new PersistedMutation(this, `${this.#prefix}${order} ${this.#owner}`, stored);
    void mutation.write();
    return mutation;
  }

  /**
   * Sends the mutations that earlier pages have left, now and whenever a page has ended, as long as no other page does.
   * Resolves when those that there are now have ended, or another page sends them.
   */
  recover(send: (mutation: PersistedMutation) => Promise<unknown>): Promise<void> {
    const lock = `convoy.recovery ${this.#prefix}`;
    const scan = () => this.#sendAbandoned(send);
    return new Promise((resolve) => {
      // Then the lock may never be acquired.
      this.#signal.addEventListener('abort', () => resolve(), { once: true });
      if (this.#signal.aborted) resolve();
      const held = async () => {
        await scan();
        resolve();
        if (this.#signal.aborted) return;
        const timer = setInterval(() => void scan(), SCAN_INTERVAL_MS);
        unref(timer);
        this.#signal.addEventListener('abort', () => clearInterval(timer), { once: true });
      };
      holdLock(lock, this.#signal, () => void held(), resolve);
    });
  }

  /** Runs an operation of the store. Where it fails, mutations are sent without being kept. */
  async attempt<T>(operation: (store: AsyncStore) => Promise<T>): Promise<T | null> {
    try {
      return await operation(this.#options.store);
    } catch (error) {
      if (!this.#hasWarned) console.warn('Convoy: mutations cannot be kept, because their store fails.', error);
      this.#hasWarned = true;
      return null;
    }
  }

  async #sendAbandoned(send: (mutation: PersistedMutation) => Promise<unknown>): Promise<void> {
    if (this.#isScanning) return;
    this.#isScanning = true;
    try {
      for (const [key, stored] of await this.#stored()) {
        if (this.#signal.aborted) break;
        if (stored.owner === this.#owner || (await isLockHeld(lockOf(stored.owner)))) continue;
        const mutation = new PersistedMutation(this, key, stored);
        if (stored.scope === this.scope()) await this.#send(mutation, send);
        else if (Date.now() - stored.calledAt > MAX_FOREIGN_AGE_MS) await mutation.delete();
      }
    } catch (error) {
      // They stay in the store until the next look.
      console.error('Convoy: mutations of earlier pages are not sent, because it is unknown who is signed in.', error);
    } finally {
      this.#isScanning = false;
    }
  }

  async #send(mutation: PersistedMutation, send: (mutation: PersistedMutation) => Promise<unknown>): Promise<void> {
    try {
      await send(mutation);
    } catch (error) {
      if (this.#signal.aborted) return;
      // It stays in the store.
      if (error === this.#scopeError || isUnsent(error)) throw error;
      const { name, args } = mutation.call;
      this.#report(error as ConvoyError, { name, args: JSON.parse(args) });
    }
    if (!this.#signal.aborted) await mutation.delete();
  }

  #report(error: ConvoyError, mutation: { readonly name: string; readonly args: unknown }): void {
    const { onError } = this.#options;
    try {
      if (onError) onError(error, mutation);
      else console.error(`Convoy: ${mutation.name}, called before the page was loaded, failed:`, error);
    } catch (thrown) {
      // As for listeners: the application's error surfaces as uncaught, and the other mutations go on.
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }

  /** All mutations in the store, in the order of their calls. */
  async #stored(): Promise<[string, StoredMutation][]> {
    const found: [string, StoredMutation][] = [];
    for (const key of ((await this.attempt((store) => store.keys(this.#prefix))) ?? []).sort()) {
      const text = await this.attempt((store) => store.get(key));
      const stored = text === null ? null : parse(text);
      if (stored !== null) found.push([key, stored]);
    }
    return found;
  }

  async #forget(scope: string): Promise<void> {
    for (const [key, stored] of await this.#stored()) {
      if (stored.scope === scope) await this.attempt((store) => store.delete(key));
    }
  }
}

/** `null` where something else has written the text. */
function parse(text: string): StoredMutation | null {
  try {
    const stored = JSON.parse(text);
    return typeof stored?.idempotencyKey === 'string' && typeof stored.args === 'string' ? stored : null;
  } catch {
    return null;
  }
}

const lockOf = (owner: string) => `convoy.page ${owner}`;
