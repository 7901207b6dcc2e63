/** The suite of Better Auth for adapters with `advanced.database.joins`. */
import { joinsTestSuite } from '@better-auth/test-utils/adapter';
import { runSuites } from './run-suites.js';

await runSuites([joinsTestSuite()]);
