/** The suite of Better Auth for adapters with `generateId: 'uuid'`. */
import { uuidTestSuite } from '@better-auth/test-utils/adapter';
import { quick, runSuites } from './run-suites.js';

const dependent = [
  'init - tests',
  'create - should create a model',
  'create - should return a uuid',
  'findOne - should find a model using a uuid',
  'findOne - should find a model using a reference field',
  'update - should update a model',
  'delete - should delete a model',
] as const;

await runSuites([uuidTestSuite(quick(dependent))]);
