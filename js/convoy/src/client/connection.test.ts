import { describe, expect, test } from 'vitest';
import { type Connection, type ConnectionEvent, INITIAL, step, viewOf } from './connection.js';

/** The state after a wake and `events`. */
function after(...events: ConnectionEvent[]): Connection {
  return [wake, ...events].reduce(step, INITIAL);
}

const wake = { type: 'wake' } as const;
const accepted = { type: 'accepted' } as const;
const delivered = { type: 'delivered' } as const;
const elapsed = { type: 'elapsed' } as const;
const lost = (random = 0.5) => ({ type: 'lost', random }) as const;
const protocolError = (random = 1) => ({ type: 'protocolError', random }) as const;
const OPEN = [accepted, delivered];

test('the connection is opened for the first subscription and closed after the last', () => {
  expect(INITIAL.phase).toBe('idle');
  expect(after().phase).toBe('connecting');
  for (const before of [after(), after(...OPEN), after(lost()), after({ type: 'refused' }), after({ type: 'pause' })]) {
    expect(step(before, { type: 'unused' })).toEqual(INITIAL);
  }
  for (const type of ['unused', 'reconnect', 'pause', 'elapsed', 'accepted'] as const) {
    expect(step(INITIAL, { type })).toBe(INITIAL);
  }
});

describe('waiting', () => {
  test('is bounded by the delays of the failures before, up to the maximum', () => {
    const delays: number[] = [];
    let connection = after();
    for (let failure = 0; failure < 8; failure += 1) {
      connection = step(connection, lost(1));
      if (connection.phase === 'waiting') delays.push(connection.delayMs);
      connection = step(connection, elapsed);
    }
    expect(delays).toEqual([500, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  });

  test('is at most as long as the server was away, or the base delay', () => {
    for (let run = 0; run < 200; run += 1) {
      const awayMs = 10_000 * Math.random();
      let [connection, atMs] = [after(), 0];
      while (atMs < awayMs) {
        connection = step(connection, lost(Math.random()));
        if (connection.phase === 'waiting') atMs += connection.delayMs;
        connection = step(connection, elapsed);
      }
      expect(atMs - awayMs).toBeLessThanOrEqual(Math.max(500, awayMs));
    }
  });

  test('does not grow while there is no network', () => {
    const offline = after(lost(1), { type: 'offline' });
    expect(offline).toMatchObject({ phase: 'waiting', delayMs: 30_000 });
    expect([elapsed, lost(1)].reduce(step, offline)).toMatchObject({ delayMs: 500 });
  });

  test('is anywhere between zero and its bound', () => {
    expect(after(lost(0))).toMatchObject({ phase: 'waiting', delayMs: 0 });
    expect(after(lost(0.25))).toMatchObject({ phase: 'waiting', delayMs: 125 });
  });

  test('restarts at the base delay once a server has delivered, but not when it only accepted', () => {
    const twice = [lost(1), elapsed, lost(1), elapsed];
    expect(after(...twice, ...OPEN, lost(1))).toMatchObject({ attempt: 1, delayMs: 500 });
    expect(after(...twice, accepted, lost(1))).toMatchObject({ attempt: 3, delayMs: 1000 });
  });

  test('is as long as an ending server requests, with jitter after an earlier failure', () => {
    const ended = { type: 'ended', retryMs: 3000, random: 0.5 } as const;
    expect(after(...OPEN, ended)).toMatchObject({ phase: 'waiting', attempt: 1, delayMs: 3000 });
    expect(after(lost(), elapsed, accepted, ended)).toMatchObject({ attempt: 2, delayMs: 3250 });
    expect(after(...OPEN, { ...ended, retryMs: 1e9 })).toMatchObject({ delayMs: 60_000 });
  });

  test('is cut short by a wake', () => {
    expect(after(lost(), wake).phase).toBe('connecting');
  });
});

describe('a protocol error', () => {
  test('reconnects at once the first time, and with a delay when repeated, even if the server delivers', () => {
    const again = [elapsed, ...OPEN, protocolError()];
    expect(after(...OPEN, protocolError()).phase).toBe('connecting');
    expect(after(...OPEN, protocolError(), ...OPEN, protocolError())).toMatchObject({
      phase: 'waiting',
      delayMs: 1000,
    });
    expect(after(...OPEN, protocolError(), ...OPEN, protocolError(), ...again)).toMatchObject({ delayMs: 2000 });
    expect(after(...OPEN, protocolError(), ...OPEN, protocolError(), ...again, ...again)).toMatchObject({
      delayMs: 4000,
    });
  });

  test('is forgotten when a connection ends for another reason', () => {
    expect(after(...OPEN, protocolError(), ...OPEN, lost(), elapsed, ...OPEN, protocolError()).phase).toBe(
      'connecting',
    );
  });

  test('does not reset the backoff of an earlier failure', () => {
    expect(after(lost(), elapsed, protocolError())).toMatchObject({ phase: 'waiting', delayMs: 1000 });
  });
});

describe('a refusal', () => {
  test('is not retried automatically', () => {
    const refused = after({ type: 'refused' });
    expect(refused.phase).toBe('refused');
    expect(step(refused, elapsed)).toBe(refused);
    expect(step(refused, lost())).toBe(refused);
    expect(step(refused, { type: 'pause' })).toBe(refused);
  });

  test('is retried on a wake or a reconnect', () => {
    expect(after({ type: 'refused' }, { type: 'wake' }).phase).toBe('connecting');
    expect(after({ type: 'refused' }, { type: 'reconnect' }).phase).toBe('connecting');
  });
});

describe('pausing', () => {
  test('closes the connection until a wake', () => {
    for (const before of [after(), after(...OPEN), after(lost())]) {
      const paused = step(before, { type: 'pause' });
      expect(paused.phase).toBe('paused');
      expect(step(paused, lost())).toBe(paused);
      expect(step(paused, { type: 'wake' }).phase).toBe('connecting');
    }
  });
});

test('a reconnect connects again, even from an open connection and while connecting', () => {
  expect(after(...OPEN, { type: 'reconnect' }).phase).toBe('connecting');
  const connecting = after();
  expect(step(connecting, { type: 'reconnect' })).not.toBe(connecting);
});

test('a wake leaves an open or connecting connection unchanged', () => {
  const open = after(...OPEN);
  expect(step(open, { type: 'wake' })).toBe(open);
  const connecting = after();
  expect(step(connecting, wake)).toBe(connecting);
});

test('closed is final', () => {
  const closed = after(...OPEN, { type: 'close' });
  for (const type of ['wake', 'reconnect', 'elapsed', 'accepted', 'delivered', 'pause', 'close'] as const) {
    expect(step(closed, { type })).toBe(closed);
  }
});

test('applications see a first connection, a lost one, and one that is not attempted', () => {
  expect(viewOf(after())).toEqual({ connectionState: 'connecting', isReconnecting: false });
  expect(viewOf(after(...OPEN))).toEqual({ connectionState: 'open', isReconnecting: false });
  expect(viewOf(after(...OPEN, lost()))).toEqual({ connectionState: 'connecting', isReconnecting: true });
  expect(viewOf(after(lost()))).toEqual({ connectionState: 'connecting', isReconnecting: true });
  expect(viewOf(INITIAL)).toEqual({ connectionState: 'closed', isReconnecting: false });
  expect(viewOf(after({ type: 'refused' }))).toEqual({ connectionState: 'closed', isReconnecting: false });
});
