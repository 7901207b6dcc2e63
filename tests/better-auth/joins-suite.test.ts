/** The suite of Better Auth for adapters with `advanced.database.joins`. */
import { joinsTestSuite } from '@better-auth/test-utils/adapter';
import { quick, runSuites } from './run-suites.js';

const dependent = [
  'init - tests',
  'findOne - should find a model with join',
  'findOne - should select fields with multiple joins',
  'findOne - should perform backwards joins',
  'findOne - should return null for failed base model lookup that has joins',
  'findMany - should find many models with join',
  'findMany - should find many with join, where, limit, and offset',
  'findMany - should be able to perform a complex limited join',
  'findMany - should handle mixed joins correctly when some are missing',
] as const;

await runSuites([joinsTestSuite(quick(dependent))]);
