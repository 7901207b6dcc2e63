import { expect, it } from 'vitest';
import { makeActionRef, makeMutationRef, makeQueryRef } from './refs.js';

it('creates plain frozen objects of a kind and a name', () => {
  const list = makeQueryRef('messages.list');
  expect(list).toEqual({ kind: 'query', name: 'messages.list' });
  expect(Object.isFrozen(list)).toBe(true);
  expect(makeMutationRef('messages.send')).toEqual({ kind: 'mutation', name: 'messages.send' });
  expect(makeActionRef('mail.send')).toEqual({ kind: 'action', name: 'mail.send' });
});
