import { beforeEach, describe, expect, test } from 'vitest';
import { type LiveMessage, parseMessage } from '../protocol/frames.js';
import { ConvoyError } from '../values/errors.js';
import { ConsistencyToken } from './consistency-token.js';
import { Session, type SubscribedQuery } from './session.js';

const sink = { result: () => {}, same: () => {}, failed: () => {}, connection: () => {} };

let session: Session;
let query: SubscribedQuery;
let seq: number;
beforeEach(() => {
  session = new Session(new ConsistencyToken());
  query = session.add({ name: 'a.list', args: '{"of":"a"}' }, sink);
  open();
});

function open() {
  const descriptors = session.takeOpening();
  seq = 0;
  expect(receive({ type: 'session', session: 's', protocol: 1 })).toMatchObject({ protocolError: null });
  return descriptors;
}

function receive(...messages: object[]) {
  return session.apply(
    messages.map((message) => parseMessage(JSON.stringify({ seq: seq++, ...message })) as LiveMessage),
  );
}

const result = (data: unknown, hash: string) => receive({ type: 'result', id: query.id, hash, data });

describe('the server is sent', () => {
  test('the whole query set in the opening, and later each change once', () => {
    const other = session.add({ name: 'b.list', args: '{}' }, sink);
    expect(session.takeChanges()).toEqual({ add: [{ id: other.id, name: 'b.list', args: {} }], remove: [] });
    expect(session.takeChanges()).toEqual({ add: [], remove: [] });
    session.remove(query);
    expect(session.takeChanges()).toEqual({ add: [], remove: [1] });
    expect(open()).toEqual([{ id: other.id, name: 'b.list', args: {} }]);
  });

  test('at most what it accepts in one message, and a larger query alone', () => {
    const large = session.add({ name: 'b.list', args: JSON.stringify('x'.repeat(300_000)) }, sink);
    const others = Array.from({ length: 3 }, (_, n) =>
      session.add({ name: 'c.list', args: JSON.stringify(`${n}`.repeat(100_000)) }, sink),
    );
    const ids = (queries: readonly { readonly id: number }[]) => queries.map(({ id }) => id);
    const [one, two, three] = ids(others);
    expect(ids(open())).toEqual([query.id, one, two]);
    expect(ids(session.takeChanges().add)).toEqual([large.id]);
    expect(ids(session.takeChanges().add)).toEqual([three]);
    expect(session.takeChanges()).toEqual({ add: [], remove: [] });
  });

  test('a removal again, where the change was refused for what it adds', () => {
    session.remove(query);
    session.add({ name: 'b.list', args: '{}' }, sink);
    const change = session.takeChanges();
    session.refused(change);
    expect(session.takeChanges()).toEqual({ add: [], remove: [query.id] });
    session.refused({ add: [], remove: [query.id] });
    expect(session.takeChanges()).toEqual({ add: [], remove: [] });
  });

  test('no query that was added and removed between two changes', () => {
    session.remove(session.add({ name: 'b.list', args: '{}' }, sink));
    expect(session.takeChanges()).toEqual({ add: [], remove: [] });
  });

  test('the hash of the cached result, unless the whole result is requested', () => {
    result([1], 'h1');
    expect(open()).toEqual([{ id: 1, name: 'a.list', args: { of: 'a' }, hash: 'h1' }]);
    session.resubscribe(query);
    expect(session.takeChanges()).toEqual({ add: [{ id: 2, name: 'a.list', args: { of: 'a' } }], remove: [1] });
  });

  test('no hash of a result that the caller may no longer see', () => {
    result([1], 'h1');
    receive({ type: 'error', id: 1, error: { code: 'FORBIDDEN', message: 'no' } });
    expect(open()[0]).not.toHaveProperty('hash');
    result([1], 'h1');
    session.fail(new ConvoyError('UNAUTHORIZED', 'no'));
    expect(open()[0]).not.toHaveProperty('hash');
    result([1], 'h1');
    session.fail(new ConvoyError('INTERNAL', 'no'));
    expect(open()[0]).toHaveProperty('hash', 'h1');
  });
});

describe('a frame', () => {
  test('returns events in its order, each with the result at that message', () => {
    const applied = receive(
      { type: 'result', id: 1, hash: 'h1', data: [{ n: 1 }] },
      { type: 'rows', id: 1, from: 'h1', hash: 'h2', rows: [[0, 1], { row: { n: 2 } }] },
      { type: 'settled', key: 'k' },
    );
    expect(applied).toMatchObject({
      queryEvents: [
        { type: 'result', data: [{ n: 1 }] },
        { type: 'result', data: [{ n: 1 }, { n: 2 }] },
      ],
      sessionEvents: [{ type: 'settled', key: 'k' }],
    });
    expect(open()[0]).toHaveProperty('hash', 'h2');
  });

  test('about a removed query has no effect', () => {
    session.remove(query);
    expect(receive({ type: 'rows', id: 1, from: 'x', hash: 'y', rows: [] })).toMatchObject({
      protocolError: null,
      queryEvents: [],
    });
    expect(session.isClosed(query)).toBe(true);
  });

  test('with the hash of the cached result returns the cached object', () => {
    const [first] = queryEventsOf(result([1], 'h1'));
    const [again] = queryEventsOf(result([2], 'h1'));
    expect((again as { data: unknown }).data).toBe((first as { data: unknown }).data);
  });

  test('with a protocol error has no effect except to forget the hash it did not match', () => {
    result([1], 'h1');
    const wrong = receive({ type: 'result', id: 1, hash: 'h2', data: [2] }, { type: 'same', id: 1, hash: 'h1' });
    expect(wrong).toEqual({ protocolError: 'A same message for a.list does not match the cached result.' });
    expect(open()[0]).not.toHaveProperty('hash');
    const [whole] = queryEventsOf(result([1], 'h1'));
    expect((whole as { data: unknown }).data).toEqual([1]);
  });

  test.each([
    ['skips a message', [{ type: 'settled', key: 'k', seq: 2 }]],
    ['repeats one', [{ type: 'settled', key: 'k', seq: 0 }]],
  ])('that %s is a protocol error', (_what, messages) => {
    expect(receive(...messages)).toEqual({ protocolError: expect.stringContaining('expected') });
  });

  test('before the session is open may only refuse it', () => {
    session.takeOpening();
    seq = 0;
    expect(receive({ type: 'result', id: 1, hash: 'h', data: 1 })).toEqual({ protocolError: expect.any(String) });
    session.takeOpening();
    seq = 0;
    expect(receive({ type: 'error', error: { code: 'UNAUTHORIZED', message: 'no' } })).toMatchObject({
      sessionEvents: [{ type: 'error' }],
    });
  });
});

test('UNAVAILABLE interrupts a query until its next message, or the end of the session', () => {
  const unavailable = { type: 'error', id: 1, error: { code: 'UNAVAILABLE', message: 'away' } };
  result([1], 'h1');
  expect(queryEventsOf(receive(unavailable))).toMatchObject([{ type: 'interrupted', query: { interrupted: true } }]);
  expect(queryEventsOf(receive(unavailable))).toEqual([]);
  expect(queryEventsOf(receive({ type: 'same', id: 1, hash: 'h1' }))).toMatchObject([
    { type: 'interrupted', query: { interrupted: false } },
    { type: 'same' },
  ]);
  receive(unavailable);
  open();
  expect(query.interrupted).toBe(false);
});

function queryEventsOf(result: ReturnType<Session['apply']>) {
  if (result.protocolError !== null) throw new Error(result.protocolError);
  return result.queryEvents;
}
