/** The store of the adapter, in a worker of a Convoy server with its own database, for Better Auth's suites. */
import { randomUUID } from 'node:crypto';
import { BroadcastChannel } from 'node:worker_threads';
import { makeActionRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import type { BetterAuthOptions } from 'better-auth';
import { createAdapterFactory, type DBAdapter } from 'better-auth/adapters';
import { getAuthTables } from 'better-auth/db';
import { ADAPTER_CONFIG, storeOptions } from '../../js/convoy-auth/src/better-auth-adapter/adapter.js';
import { layoutOf } from '../../js/convoy-auth/src/better-auth-adapter/layout.js';
import type { Store } from '../../js/convoy-auth/src/better-auth-adapter/store.js';
import { freshDatabaseUrl } from '../app.js';

const METHODS = [
  'create',
  'update',
  'updateMany',
  'findOne',
  'findMany',
  'delete',
  'deleteMany',
  'consumeOne',
  'incrementOne',
  'count',
] as const satisfies readonly (keyof Store)[];

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string; readonly stack: string; readonly code?: string };
}

/** A server with the tables for some options of Better Auth. */
export class RemoteStore {
  readonly #convoy: Convoy;
  readonly #port: BroadcastChannel;
  readonly #serving: Promise<unknown>;
  readonly #waiting: Map<number, (answer: Answer) => void>;
  #asked = 0;
  #transactions = 0;

  private constructor(
    convoy: Convoy,
    port: BroadcastChannel,
    serving: Promise<unknown>,
    waiting: Map<number, (answer: Answer) => void>,
  ) {
    this.#convoy = convoy;
    this.#port = port;
    this.#serving = serving;
    this.#waiting = waiting;
  }

  static async open(options: BetterAuthOptions): Promise<RemoteStore> {
    const program = new URL('./store-program.mjs', import.meta.url);
    program.searchParams.set('layout', JSON.stringify([...layoutOf(getAuthTables(options))]));
    const convoy = await createConvoy({ program, workers: 1, databaseUrl: freshDatabaseUrl(), createDatabase: true });
    const channel = randomUUID();
    const port = new BroadcastChannel(channel);
    const waiting = new Map<number, (answer: Answer) => void>();
    port.onmessage = (event) => {
      const answer = (event as { data: Answer }).data;
      waiting.get(answer.id)?.(answer);
      waiting.delete(answer.id);
    };
    const ready = new Promise<void>((resolve) => {
      waiting.set(0, () => resolve());
    });
    const serving = convoy.action(makeActionRef<{ channel: string }, null>('serve'), { channel });
    await Promise.race([ready, serving]);
    return new RemoteStore(convoy, port, serving, waiting);
  }

  adapter(options: BetterAuthOptions, transaction: number | null = null): DBAdapter {
    const { idForm } = storeOptions(options, getAuthTables(options));
    const call = (method: string) => (args: object) => this.#ask('call', { transaction, idForm, method, args });
    return createAdapterFactory({
      config: { ...ADAPTER_CONFIG, transaction: (run) => this.#transaction((id) => run(this.adapter(options, id))) },
      adapter: () => Object.fromEntries(METHODS.map((method) => [method, call(method)])) as unknown as Store,
    })(options);
  }

  async close(): Promise<void> {
    this.#port.postMessage({ op: 'close' });
    await this.#serving;
    this.#port.close();
    await this.#convoy.close();
  }

  async #transaction<R>(run: (id: number) => Promise<R>): Promise<R> {
    const transaction = ++this.#transactions;
    await this.#ask('begin', { transaction });
    let result: R;
    try {
      result = await run(transaction);
    } catch (error) {
      await this.#ask('rollBack', { transaction });
      throw error;
    }
    await this.#ask('commit', { transaction });
    return result;
  }

  #ask(op: string, input: object): Promise<unknown> {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => {
        if (error === undefined) resolve(result);
        else reject(Object.assign(new Error(error.message), { code: error.code, stack: error.stack }));
      });
      this.#port.postMessage({ id, op, ...input });
    });
  }
}
