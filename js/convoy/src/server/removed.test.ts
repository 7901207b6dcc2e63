import { expect, it } from 'vitest';
import { createDb as createDbOfTheRoot } from '../index.js';
import { createDb, createNodeHandler, createNodeServer, createQuerySubscriptionManager } from './index.js';

it.each(Object.entries({ createDb, createNodeHandler, createNodeServer, createQuerySubscriptionManager }))(
  '%s of 0.0.1 can be imported and throws an error that names its replacement',
  (name, fn) => {
    expect(() => fn({ queries: {}, mutations: {} }, 'anything')).toThrow(
      new RegExp(`^${name}\\(\\) was part of Convoy 0\\.0\\.1 and was removed\\. createConvoy\\(`),
    );
  },
);

it('createDb is also exported from the package root, as in 0.0.1', () => {
  expect(createDbOfTheRoot).toBe(createDb);
});
