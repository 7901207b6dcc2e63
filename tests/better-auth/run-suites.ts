/** Runs suites of Better Auth for database adapters on a real server with a worker. */
import { testAdapter } from '@better-auth/test-utils/adapter';
import { vi } from 'vitest';
import { RemoteStore } from './remote-store.js';

type Suites = Parameters<typeof testAdapter>[0]['tests'];

/** Defines the tests of the suites; each change of the options that needs other tables loads the program again. */
export async function runSuites(tests: Suites): Promise<void> {
  // The suites print statistics.
  vi.spyOn(console, 'log').mockImplementation(() => {});
  const store = new RemoteStore();
  const { execute } = await testAdapter({
    adapter: (options) => (withOptions) => store.adapter(withOptions ?? options),
    runMigrations: (options) => store.migrate(options),
    overrideBetterAuthOptions: (options) => ({
      ...options,
      baseURL: 'http://localhost:3000',
      logger: { level: 'error' },
    }),
    tests,
    onFinish: () => store.close(),
  });
  execute();
}
