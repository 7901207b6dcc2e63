/** The suite of Better Auth for adapters with `generateId: 'uuid'`. */
import { uuidTestSuite } from '@better-auth/test-utils/adapter';
import { runSuites } from './run-suites.js';

await runSuites([uuidTestSuite()]);
