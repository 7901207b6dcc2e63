import { expect, test } from 'vitest';
import { ConvoyError } from '../values/errors.js';
import { type Held, PENDING, withConnection, withFailure, withResult, withSame } from './snapshot.js';

const NOTHING: Held = { snapshot: PENDING, hash: null };
const OPEN = { connectionState: 'open', isReconnecting: false } as const;
const AWAY = { connectionState: 'connecting', isReconnecting: true } as const;
const opened = withConnection(NOTHING, OPEN);

test('the same hash keeps the data the same object, and the whole snapshot where nothing else changed', () => {
  const first = withResult(opened, { n: 1 }, 'h1');
  expect(withResult(first, { n: 1 }, 'h1').snapshot).toBe(first.snapshot);
  const back = withResult(withConnection(withConnection(first, AWAY), OPEN), { n: 1 }, 'h1');
  expect(back.snapshot.data).toBe(first.snapshot.data);
  expect(back.snapshot).toMatchObject({ isStale: false, connectionState: 'open' });
});

test('a lost connection keeps the data and says it may be old until the answer is known again', () => {
  const lost = withConnection(withResult(opened, [1], 'h1'), AWAY);
  expect(lost.snapshot).toMatchObject({ status: 'success', data: [1], isStale: true, isReconnecting: true });
  const reopened = withConnection(lost, OPEN);
  expect(reopened.snapshot.isStale).toBe(true);
  expect(withSame(reopened).snapshot).toMatchObject({ data: [1], isStale: false });
});

test('a failing query keeps its last answer, marked stale, and recovers', () => {
  const failed = withFailure(withResult(opened, [1], 'h1'), new ConvoyError('INTERNAL', 'no'));
  expect(failed.snapshot).toMatchObject({ status: 'error', data: [1], isStale: true, error: { code: 'INTERNAL' } });
  const well = withResult(failed, [1], 'h1').snapshot;
  expect(well).toMatchObject({ status: 'success', error: null, isStale: false });
  expect(well.data).toBe(failed.snapshot.data);
});

test.each(['UNAUTHORIZED', 'FORBIDDEN'] as const)('%s takes the last answer away', (code) => {
  const failed = withFailure(withResult(opened, [1], 'h1'), new ConvoyError(code, 'no'));
  expect(failed).toMatchObject({ hash: null, snapshot: { status: 'error', data: null, isStale: false } });
});

test('a report without news gives back the same object', () => {
  const held = withResult(opened, 1, 'h1');
  expect(withConnection(held, OPEN)).toBe(held);
  expect(withSame(held)).toBe(held);
});
