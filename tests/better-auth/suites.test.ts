/** The suites that Better Auth publishes for database adapters. */

import { convoyAdapter } from '@avvos/convoy-auth/better-auth-adapter';
import {
  authFlowTestSuite,
  caseInsensitiveTestSuite,
  normalTestSuite,
  transactionsTestSuite,
} from '@better-auth/test-utils/adapter';
import { expect, test } from 'vitest';
import { runSuites } from './run-suites.js';

await runSuites([normalTestSuite(), transactionsTestSuite(), authFlowTestSuite(), caseInsensitiveTestSuite()]);

// The suite `number-id` cannot run: an id of Convoy is a uuid.
test('numeric ids are refused', () => {
  const options = { advanced: { database: { generateId: 'serial' } } } as const;
  expect(() => convoyAdapter({ db: {} })(options)).toThrow(/does not support numeric ids/);
});
