/**
 * Clients that somebody made by hand, for tests or over a connection of their own: they answer calls and know nothing of
 * live queries. The hooks take them, ask each query once, and again by `refetch`.
 */
import type { ApiRef } from '../protocol/refs.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { askOnce } from './one-shot-query.js';
import type { CallRequest, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

/** What is needed of one. */
export interface CallingClient {
  // biome-ignore lint/suspicious/noExplicitAny: whatever its author wrote there; the reference vouches for the types.
  query(ref: any, args?: any): Promise<any>;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  mutation(ref: any, args?: any): Promise<any>;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  action?(ref: any, args?: any): Promise<any>;
}

/** Completed once each, so that all hooks of a page share what one has asked. */
const completed = new WeakMap<object, ConvoyClient>();

/** The client itself, or one that does the rest for it. */
export function completeClient(client: ConvoyClient | CallingClient): ConvoyClient {
  if ('liveQuery' in client) return client;
  const known = completed.get(client);
  if (known) return known;
  const refs = new Map<string, ApiRef>();
  const made = createConvoyClient({ transport: new CallingTransport(client, refs) });
  const noting = <Method extends 'query' | 'mutation' | 'action' | 'watch' | 'liveQuery'>(method: Method) => {
    const call = made[method].bind(made) as (ref: ApiRef, ...rest: unknown[]) => unknown;
    return ((ref: ApiRef, ...rest: unknown[]) => {
      refs.set(ref.name, ref);
      return call(ref, ...rest);
    }) as ConvoyClient[Method];
  };
  const complete: ConvoyClient = {
    baseUrl: made.baseUrl,
    connection: made.connection,
    query: noting('query'),
    mutation: noting('mutation'),
    action: noting('action'),
    watch: noting('watch'),
    liveQuery: noting('liveQuery'),
    refreshAuth: () => made.refreshAuth(),
    close: () => made.close(),
  };
  completed.set(client, complete);
  return complete;
}

class CallingTransport implements Transport {
  readonly #client: CallingClient;
  /** The references in use, by their names: it may tell by the object itself what is asked. */
  readonly #refs: ReadonlyMap<string, ApiRef>;
  #told = false;

  constructor(client: CallingClient, refs: ReadonlyMap<string, ApiRef>) {
    this.#client = client;
    this.#refs = refs;
  }

  async call({ kind, name, args }: CallRequest): Promise<unknown> {
    const given = JSON.parse(args);
    const ref = this.#refs.get(name);
    try {
      if (kind === 'query') return await this.#client.query(ref, given);
      if (kind === 'mutation') return await this.#client.mutation(ref, given);
      if (this.#client.action) return await this.#client.action(ref, given);
    } catch (error) {
      if (isConvoyError(error)) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new ConvoyError('INTERNAL', message, { cause: error });
    }
    throw new ConvoyError('NOT_FOUND', `The client that was given has no \`action\`, so it cannot run ${name}`);
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    if (!this.#told) warnInDevelopment();
    this.#told = true;
    queueMicrotask(() => sink.connection({ connectionState: 'disabled', isReconnecting: false }));
    return askOnce(this, request, sink);
  }

  close(): void {}
}

function warnInDevelopment(): void {
  if (isProduction()) return;
  console.warn(
    'Convoy: the client given to the hooks has `query` and `mutation` only, so queries are asked once and are not ' +
      'live. `createConvoyClient` makes one that keeps them current.',
  );
}

function isProduction(): boolean {
  try {
    // Exactly so: bundlers put the mode in place of this expression.
    return process.env.NODE_ENV === 'production';
  } catch {
    // A browser without a bundler has no such thing.
    return false;
  }
}
