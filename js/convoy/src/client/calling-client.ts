/**
 * Adapts application-made clients, for tests or over a custom connection, which implement calls but no live queries.
 * The hooks accept them, call each query once, and again on `refetch`.
 */
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { oneShotQuery } from './one-shot-query.js';
import type { CallRequest, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

/** The methods such a client must have. */
export interface CallingClient {
  /** Calls a query once and resolves with its result. */
  // biome-ignore lint/suspicious/noExplicitAny: the author chooses these types; hooks use the reference's.
  query(ref: any, args?: any): Promise<any>;
  /** Runs a mutation and resolves with its result. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  mutation(ref: any, args?: any): Promise<any>;
  /** Runs an action and resolves with its result; without it, `useAction` fails with `NOT_FOUND`. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  action?(ref: any, args?: any): Promise<any>;
}

/** One completed client for each client, so that all hooks of a page share its queries. */
const completed = new WeakMap<object, ConvoyClient>();

/** Returns `client` itself, or a complete client that sends its calls through it. */
export function completeClient(client: ConvoyClient | CallingClient): ConvoyClient {
  if (Object(client) !== client)
    throw new TypeError(`The client given to the hooks is ${client}. Pass createConvoyClient().`);
  if ('liveQuery' in client) return client;
  const existing = completed.get(client);
  if (existing) return existing;
  const complete = createConvoyClient({ transport: new CallingTransport(client) });
  completed.set(client, complete);
  return complete;
}

/** Passes on the references of the application, which the client may compare by identity. */
class CallingTransport implements Transport {
  readonly #client: CallingClient;
  #warned = false;

  constructor(client: CallingClient) {
    this.#client = client;
  }

  async call({ kind, name, ref, args }: CallRequest): Promise<unknown> {
    const parsed = JSON.parse(args);
    try {
      if (kind === 'query') return await this.#client.query(ref, parsed);
      if (kind === 'mutation') return await this.#client.mutation(ref, parsed);
      if (this.#client.action) return await this.#client.action(ref, parsed);
    } catch (error) {
      if (isConvoyError(error)) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new ConvoyError('INTERNAL', message, { cause: error });
    }
    throw new ConvoyError('NOT_FOUND', `The client given to the hooks has no \`action\`, so it cannot run ${name}.`);
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    // Few pages have such a client. Where the code cannot be loaded, the warning is left out.
    if (!this.#warned) import('./calling-warning.js').then((code) => code.warnInDevelopment()).catch(() => {});
    this.#warned = true;
    queueMicrotask(() => sink.connection({ connectionState: 'disabled', isReconnecting: false }));
    return oneShotQuery(this, request, sink);
  }

  close(): void {}
}
