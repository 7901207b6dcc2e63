import { expect, test } from 'vitest';
import { ConvoyError } from '../values/errors.js';
import { PENDING, withConnection, withFailure, withResult, withSame } from './snapshot.js';

const OPEN = { connectionState: 'open', isReconnecting: false } as const;
const AWAY = { connectionState: 'connecting', isReconnecting: true } as const;
const opened = withConnection(PENDING, OPEN);
const ONE = { n: 1 };

test('the same data returns the same snapshot, unless another member has changed', () => {
  const first = withResult(opened, ONE);
  expect(withResult(first, ONE)).toBe(first);
  const back = withResult(withConnection(withConnection(first, AWAY), OPEN), ONE);
  expect(back).toMatchObject({ data: ONE, isStale: false, connectionState: 'open' });
});

test('a lost connection keeps the data and marks it stale until a result or `same` arrives', () => {
  const lost = withConnection(withResult(opened, ONE), AWAY);
  expect(lost).toMatchObject({ status: 'success', data: ONE, isStale: true, isReconnecting: true });
  const reopened = withConnection(lost, OPEN);
  expect(reopened.isStale).toBe(true);
  expect(withSame(reopened)).toMatchObject({ data: ONE, isStale: false });
});

test('a failing query keeps its last result, marked stale, and recovers', () => {
  const failed = withFailure(withResult(opened, ONE), new ConvoyError('INTERNAL', 'no'));
  expect(failed).toMatchObject({ status: 'error', data: ONE, isStale: true, error: { code: 'INTERNAL' } });
  for (const recovered of [withResult(failed, ONE), withSame(failed)]) {
    expect(recovered).toMatchObject({ status: 'success', error: null, isStale: false });
    expect(recovered.data).toBe(ONE);
  }
});

test.each(['UNAUTHORIZED', 'FORBIDDEN'] as const)('%s removes the last result', (code) => {
  const failed = withFailure(withResult(opened, ONE), new ConvoyError(code, 'no'));
  expect(failed).toMatchObject({ status: 'error', data: null, isStale: false });
});

test('an event that changes nothing returns the same snapshot', () => {
  const shown = withResult(opened, 1);
  expect(withConnection(shown, OPEN)).toBe(shown);
  expect(withSame(shown)).toBe(shown);
  expect(withSame(opened)).toBe(opened);
});
