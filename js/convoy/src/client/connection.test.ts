import { describe, expect, test } from 'vitest';
import { type Connection, type ConnectionEvent, STARTED, step, viewOf } from './connection.js';

/** Where a connection stands after it was wanted and all this happened. */
function after(...events: ConnectionEvent[]): Connection {
  return [wake, ...events].reduce(step, STARTED);
}

const wake = { type: 'wake' } as const;
const accepted = { type: 'accepted' } as const;
const proven = { type: 'proven' } as const;
const elapsed = { type: 'elapsed' } as const;
const lost = (random = 0.5) => ({ type: 'lost', random }) as const;
const damaged = (random = 1) => ({ type: 'damaged', random }) as const;
const OPEN = [accepted, proven];

test('nothing is opened until something is watched, and nothing stays open after', () => {
  expect(STARTED.phase).toBe('idle');
  expect(after().phase).toBe('connecting');
  for (const before of [after(), after(...OPEN), after(lost()), after({ type: 'refused' }), after({ type: 'rest' })]) {
    expect(step(before, { type: 'leave' })).toEqual(STARTED);
  }
  for (const type of ['leave', 'refresh', 'rest', 'elapsed', 'accepted'] as const) {
    expect(step(STARTED, { type })).toBe(STARTED);
  }
});

describe('waiting', () => {
  test('doubles its bound with each failure in a row, and stays under the cap', () => {
    const waits: number[] = [];
    let connection = after();
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

  test('begins again once a server has delivered, but not when it only accepted', () => {
    expect(after(lost(), elapsed, lost(), elapsed, ...OPEN, lost(1))).toMatchObject({ attempt: 1, delayMs: 500 });
    expect(after(lost(), elapsed, lost(), elapsed, accepted, lost(1))).toMatchObject({ attempt: 3, delayMs: 2000 });
  });

  test('is as long as a server asks that ends the session, with a spread of our own where it is not the first failure', () => {
    const ended = { type: 'ended', retryMs: 3000, random: 0.5 } as const;
    expect(after(...OPEN, ended)).toMatchObject({ phase: 'waiting', attempt: 1, delayMs: 3000 });
    expect(after(lost(), elapsed, accepted, ended)).toMatchObject({ attempt: 2, delayMs: 3500 });
    expect(after(...OPEN, { ...ended, retryMs: 1e9 })).toMatchObject({ delayMs: 60_000 });
  });

  test('is cut short by someone looking again', () => {
    expect(after(lost(), wake).phase).toBe('connecting');
  });
});

describe('damage', () => {
  test('is answered at once the first time, and with pauses when it comes again, though the server delivers', () => {
    const again = [elapsed, ...OPEN, damaged()];
    expect(after(...OPEN, damaged()).phase).toBe('connecting');
    expect(after(...OPEN, damaged(), ...OPEN, damaged())).toMatchObject({ phase: 'waiting', delayMs: 1000 });
    expect(after(...OPEN, damaged(), ...OPEN, damaged(), ...again)).toMatchObject({ delayMs: 2000 });
    expect(after(...OPEN, damaged(), ...OPEN, damaged(), ...again, ...again)).toMatchObject({ delayMs: 4000 });
  });

  test('is forgotten when a connection ends in another way', () => {
    expect(after(...OPEN, damaged(), ...OPEN, lost(), elapsed, ...OPEN, damaged()).phase).toBe('connecting');
  });

  test('does not cut short what failed before it', () => {
    expect(after(lost(), elapsed, damaged())).toMatchObject({ phase: 'waiting', delayMs: 1000 });
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

test('a refresh connects again, even from an open connection and while connecting', () => {
  expect(after(...OPEN, { type: 'refresh' }).phase).toBe('connecting');
  const connecting = after();
  expect(step(connecting, { type: 'refresh' })).not.toBe(connecting);
});

test('waking leaves what is connected or connecting alone', () => {
  const open = after(...OPEN);
  expect(step(open, { type: 'wake' })).toBe(open);
  const connecting = after();
  expect(step(connecting, wake)).toBe(connecting);
});

test('closed is for good', () => {
  const closed = after(...OPEN, { type: 'close' });
  for (const type of ['wake', 'refresh', 'elapsed', 'accepted', 'proven', 'rest', 'close'] as const) {
    expect(step(closed, { type })).toBe(closed);
  }
});

test('a screen sees a first connection, a lost one, and one that nobody makes', () => {
  expect(viewOf(after())).toEqual({ connectionState: 'connecting', isReconnecting: false });
  expect(viewOf(after(...OPEN))).toEqual({ connectionState: 'open', isReconnecting: false });
  expect(viewOf(after(...OPEN, lost()))).toEqual({ connectionState: 'connecting', isReconnecting: true });
  expect(viewOf(after(lost()))).toEqual({ connectionState: 'connecting', isReconnecting: true });
  expect(viewOf(STARTED)).toEqual({ connectionState: 'closed', isReconnecting: false });
  expect(viewOf(after({ type: 'refused' }))).toEqual({ connectionState: 'closed', isReconnecting: false });
});
