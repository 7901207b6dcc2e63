import { expect, it } from 'vitest';
import { createDb as createDbOfTheRoot } from '../index.js';
import { createDb, createNodeHandler, createNodeServer, createQuerySubscriptionManager } from './index.js';

it.each(Object.entries({ createDb, createNodeHandler, createNodeServer, createQuerySubscriptionManager }))(
  '%s of 0.0.1 can be imported, and says what does its work now',
  (name, fn) => {
    expect(() => fn({ queries: {}, mutations: {} }, 'anything')).toThrow(
      new RegExp(`^${name}\\(\\) was part of Convoy 0\\.0\\.1 and is gone\\. createConvoy\\(`),
    );
  },
);

it('createDb is also where 0.0.1 had it', () => {
  expect(createDbOfTheRoot).toBe(createDb);
});
