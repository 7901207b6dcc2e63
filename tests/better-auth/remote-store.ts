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

/** A server whose tables are those for some options of Better Auth, which may change. */
export class RemoteStore {
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #convoy: Convoy | null = null;
  #port: BroadcastChannel | null = null;
  #serving: Promise<unknown> | null = null;
  #asked = 0;
  #transactions = 0;

  /** Loads the program with the tables for these options. */
  async migrate(options: BetterAuthOptions): Promise<void> {
    const program = new URL('./store-program.mjs', import.meta.url);
    program.searchParams.set('layout', JSON.stringify([...layoutOf(getAuthTables(options))]));
    await this.#stopServing();
    if (this.#convoy === null) {
      const databaseUrl = freshDatabaseUrl();
      this.#convoy = await createConvoy({ program, workers: 1, databaseUrl, createDatabase: true });
    } else {
      await this.#convoy.load({ program });
    }
    await this.#serve(this.#convoy);
  }

  async close(): Promise<void> {
    await this.#stopServing();
    await this.#convoy?.close();
  }

  async #serve(convoy: Convoy): Promise<void> {
    const channel = randomUUID();
    const port = new BroadcastChannel(channel);
    this.#port = port;
    port.onmessage = (event) => {
      const answer = (event as { data: Answer }).data;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    };
    const ready = new Promise<void>((resolve) => {
      this.#waiting.set(0, () => resolve());
    });
    this.#serving = convoy.action(makeActionRef<{ channel: string }, null>('serve'), { channel });
    await Promise.race([ready, this.#serving]);
  }

  async #stopServing(): Promise<void> {
    this.#port?.postMessage({ op: 'close' });
    await this.#serving;
    this.#port?.close();
  }

  adapter(options: BetterAuthOptions, transaction: number | null = null): DBAdapter {
    const { idForm } = storeOptions(options, getAuthTables(options));
    const call = (method: string) => (args: object) => this.#ask('call', { transaction, idForm, method, args });
    return createAdapterFactory({
      config: { ...ADAPTER_CONFIG, transaction: (run) => this.#transaction((id) => run(this.adapter(options, id))) },
      adapter: () => Object.fromEntries(METHODS.map((method) => [method, call(method)])) as unknown as Store,
    })(options);
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
      this.#port?.postMessage({ id, op, ...input });
    });
  }
}
