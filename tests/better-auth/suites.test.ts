/** The suites that Better Auth publishes for database adapters, on a real server with a worker. */
import {
  authFlowTestSuite,
  caseInsensitiveTestSuite,
  joinsTestSuite,
  normalTestSuite,
  testAdapter,
  transactionsTestSuite,
  uuidTestSuite,
} from '@better-auth/test-utils/adapter';
import type { BetterAuthOptions } from 'better-auth';
import { RemoteStore } from './remote-store.js';

let store: RemoteStore | null = null;

async function migrate(options: BetterAuthOptions): Promise<RemoteStore> {
  await store?.close();
  store = await RemoteStore.open(options);
  return store;
}

const { execute } = await testAdapter({
  adapter: async (options) => {
    const opened = store ?? (await migrate(options));
    return (withOptions) => opened.adapter(withOptions);
  },
  runMigrations: async (options) => {
    await migrate(options);
  },
  tests: [
    normalTestSuite(),
    transactionsTestSuite(),
    authFlowTestSuite(),
    caseInsensitiveTestSuite(),
    joinsTestSuite(),
    uuidTestSuite(),
  ],
  onFinish: async () => {
    await store?.close();
  },
});

execute();
