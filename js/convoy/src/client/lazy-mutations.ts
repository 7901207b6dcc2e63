/**
 * The mutations of one client (`mutations.ts`), whose code is loaded beside the page: it displays its queries without.
 * In a page, loading begins when the client is created; elsewhere, with its first mutation.
 */
import { ConvoyError } from '../values/errors.js';
import { scopeOf } from './check-options.js';
import { unavailable } from './endpoint.js';
import type { LiveQueries } from './live-query.js';
import type { MutationRequest, Mutations } from './mutations.js';
import type { PendingCall } from './optimistic-layers.js';
import type { PersistOptions } from './persisted-mutations.js';
import type { Transport } from './transport.js';

/** How many mutations may wait. */
export const MAX_WAITING = 1_000;

type MutationsModule = typeof import('./mutations.js');

let loaded: MutationsModule | null = null;

/** Loads the code. Rejects where that fails. */
export async function loadMutations(): Promise<MutationsModule> {
  loaded ??= await import('./mutations.js');
  return loaded;
}

/** Loads the code before it is needed. A failure shows when it is. */
function preloadMutations(): void {
  loadMutations().catch(() => {});
}

export interface LazyMutationsOptions {
  /** Keeps mutations over reloads of the page. */
  readonly persist: PersistOptions | undefined;
  /** Clients with the same name share their kept mutations. */
  readonly name: string;
}

export class LazyMutations {
  readonly #transport: Transport;
  readonly #live: LiveQueries;
  readonly #options: LazyMutationsOptions;
  /** Who was signed in at first. */
  readonly #firstScope: string | null;
  #mutations: Mutations | null = null;
  #closed = false;
  /** Starts each mutation that waits for the code, with `null` where that cannot be loaded. */
  #waiting: ((code: MutationsModule | null, cause?: unknown) => void)[] = [];

  constructor(transport: Transport, live: LiveQueries, options: LazyMutationsOptions) {
    this.#transport = transport;
    this.#live = live;
    this.#options = options;
    this.#firstScope = this.#scope();
    // Those of earlier pages are sent at once.
    if (loaded !== null) this.#use(loaded);
    else if (options.persist) loadMutations().then((code) => this.#use(code), warnNotKept);
    // A page may be offline, or another version deployed, by its first mutation.
    else if (typeof window !== 'undefined') preloadMutations();
  }

  /** The mutations of this page that have not ended, in the order of their calls. */
  get pending(): Iterable<PendingCall> {
    return this.#mutations?.pending ?? [];
  }

  async run(request: MutationRequest): Promise<unknown> {
    // Behind those that wait, although the code has just been loaded.
    if (loaded !== null && this.#waiting.length === 0) return this.#use(loaded).run(request, this.#scope());
    const { name, ref, args, keepalive } = request;
    // In `pagehide` there is no later moment.
    if (keepalive === true) return this.#transport.call({ kind: 'mutation', name, ref, args, keepalive });
    const caller = this.#scope();
    const start = async (code: MutationsModule | null, cause: unknown) => {
      if (code !== null) return this.#use(code).run(request, caller);
      const message = `${name} was not sent: a part of the client could not be loaded. Try again, or reload the page.`;
      throw unavailable(message, cause);
    };
    if (this.#waiting.length >= MAX_WAITING) throw tooManyWait();
    return new Promise((resolve) => {
      this.#waiting.push((code, cause) => resolve(start(code, cause)));
      if (this.#waiting.length === 1) void this.#startWaiting();
    });
  }

  async #startWaiting(): Promise<void> {
    const startAll = (code: MutationsModule | null, cause?: unknown) => {
      // In one step: a mutation called in a microtask between two of them would overtake.
      for (const start of this.#waiting) start(code, cause);
      this.#waiting = [];
    };
    await loadMutations().then(startAll, (cause) => startAll(null, cause));
  }

  /** The same for a document's temporary id and its real one. */
  keyOf(id: string): string {
    return this.#mutations?.tempIds.keyOf(id) ?? id;
  }

  /** The token or cookie of the caller has changed: someone else may be signed in. */
  callerChanged(): void {
    this.#mutations?.callerChanged();
  }

  /** Ends the delays of mutations that wait for another attempt; the transport ends those in flight. */
  close(): void {
    this.#closed = true;
    this.#mutations?.close();
  }

  #use({ Mutations }: MutationsModule): Mutations {
    if (this.#mutations === null) {
      this.#mutations = new Mutations(this.#transport, this.#live, { ...this.#options, firstScope: this.#firstScope });
      if (this.#closed) this.#mutations.close();
    }
    return this.#mutations;
  }

  /** Who is signed in, where mutations are kept. */
  #scope(): string | null {
    return scopeOf(this.#options.persist);
  }
}

export function tooManyWait(): ConvoyError {
  return new ConvoyError('RATE_LIMITED', `${MAX_WAITING} mutations of this client already wait to be sent.`);
}

export function warnNotKept(error: unknown): void {
  console.warn('Convoy: mutations are not kept, because a part of the client could not be loaded.', error);
}
