import { describe, expect, test } from 'vitest';
import { type Connection, type ConnectionEvent, STARTED, step, viewOf } from './connection.js';

function after(...events: ConnectionEvent[]): Connection {
  return events.reduce(step, STARTED);
}

const accepted = { type: 'accepted' } as const;
const proven = { type: 'proven' } as const;
const elapsed = { type: 'elapsed' } as const;
const lost = (random = 0.5) => ({ type: 'lost', random }) as const;
const OPEN = [accepted, proven];

describe('waiting', () => {
  test('doubles its bound with each failure in a row, and stays under the cap', () => {
    const waits: number[] = [];
    let connection = STARTED;
    for (let failure = 0; failure < 8; failure += 1) {
      connection = step(connection, lost(1));
      if (connection.phase === 'waiting') waits.push(connection.delayMs);
      connection = step(connection, elapsed);
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
  });

  test('is anywhere between nothing and its bound', () => {
    expect(after(lost(0))).toMatchObject({ phase: 'waiting', delayMs: 0 });
    expect(after(lost(0.25))).toMatchObject({ phase: 'waiting', delayMs: 125 });
  });

  test('starts from the server’s `retry:`, within reason', () => {
    expect(after(accepted, { type: 'retry', ms: 3000 }, lost(1))).toMatchObject({ delayMs: 3000 });
    expect(after(accepted, { type: 'retry', ms: 0 }, lost(1))).toMatchObject({ delayMs: 50 });
    expect(after(accepted, { type: 'retry', ms: 1e9 }, lost(1))).toMatchObject({ delayMs: 60_000 });
  });

  test('begins anew once a server has delivered, but not when it only accepted', () => {
    expect(after(lost(), elapsed, lost(), elapsed, ...OPEN, lost(1))).toMatchObject({ attempt: 1, delayMs: 500 });
    expect(after(lost(), elapsed, lost(), elapsed, accepted, lost(1))).toMatchObject({ attempt: 3, delayMs: 2000 });
  });

  test('is cut short by someone looking again', () => {
    expect(after(lost(), { type: 'wake' }).phase).toBe('connecting');
  });
});

describe('a refusal', () => {
  test('is not tried again by itself', () => {
    const refused = after({ type: 'refused' });
    expect(refused.phase).toBe('refused');
    expect(step(refused, elapsed)).toBe(refused);
    expect(step(refused, lost())).toBe(refused);
    expect(step(refused, { type: 'rest' })).toBe(refused);
  });

  test('is tried again when someone looks again or asks', () => {
    expect(after({ type: 'refused' }, { type: 'wake' }).phase).toBe('connecting');
    expect(after({ type: 'refused' }, { type: 'refresh' }).phase).toBe('connecting');
  });
});

describe('resting', () => {
  test('gives the connection up until someone looks', () => {
    for (const before of [after(), after(...OPEN), after(lost())]) {
      const resting = step(before, { type: 'rest' });
      expect(resting.phase).toBe('resting');
      expect(step(resting, lost())).toBe(resting);
      expect(step(resting, { type: 'wake' }).phase).toBe('connecting');
    }
  });
});

test('a refresh connects anew, even from an open connection and while connecting', () => {
  expect(after(...OPEN, { type: 'refresh' }).phase).toBe('connecting');
  expect(after({ type: 'refresh' })).not.toBe(STARTED);
});

test('waking leaves what is connected or connecting alone', () => {
  const open = after(...OPEN);
  expect(step(open, { type: 'wake' })).toBe(open);
  expect(step(STARTED, { type: 'wake' })).toBe(STARTED);
});

test('closed is for good', () => {
  const closed = after(...OPEN, { type: 'close' });
  for (const type of ['wake', 'refresh', 'elapsed', 'accepted', 'proven', 'rest', 'close'] as const) {
    expect(step(closed, { type })).toBe(closed);
  }
});

test('a screen sees a first connection, a lost one, and a server that is away', () => {
  expect(viewOf(after())).toEqual({ connectionState: 'connecting', isReconnecting: false });
  expect(viewOf(after(...OPEN))).toEqual({ connectionState: 'open', isReconnecting: false });
  expect(viewOf(after(...OPEN, lost()))).toEqual({ connectionState: 'connecting', isReconnecting: true });
  expect(viewOf(after(lost()))).toEqual({ connectionState: 'connecting', isReconnecting: true });
  const interrupted = after(...OPEN, { type: 'interrupted' });
  expect(viewOf(interrupted)).toEqual({ connectionState: 'connecting', isReconnecting: true });
  expect(viewOf(step(interrupted, proven))).toEqual({ connectionState: 'open', isReconnecting: false });
  expect(viewOf(after({ type: 'refused' }))).toEqual({ connectionState: 'closed', isReconnecting: false });
});
