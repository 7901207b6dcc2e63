/** Runs suites of Better Auth for database adapters on a real server with a worker. */
import { testAdapter } from '@better-auth/test-utils/adapter';
import { vi } from 'vitest';
import { LONG } from '../model/random.js';
import { RemoteStore } from './remote-store.js';

type Suites = Parameters<typeof testAdapter>[0]['tests'];

/**
 * Options of a suite that repeats the tests of suites.test.ts under one setting: the quick lane has only these, which
 * depend on the setting.
 */
export function quick<Name extends string>(names: readonly Name[]): { disableTests?: Record<Name | 'ALL', boolean> } {
  if (LONG) return {};
  const enabled = Object.fromEntries(names.map((name) => [name, false])) as Record<Name, boolean>;
  return { disableTests: { ...enabled, ALL: true } as Record<Name | 'ALL', boolean> };
}

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
