import { beforeEach, describe, expect, test } from 'vitest';
import { type LiveMessage, parseMessage } from '../protocol/frames.js';
import { ConvoyError } from '../values/errors.js';
import { Position } from './consistency-token.js';
import { Session, type WantedQuery } from './session.js';

const sink = { result: () => {}, same: () => {}, failed: () => {}, connection: () => {} };

let session: Session;
let query: WantedQuery;
let seq: number;
beforeEach(() => {
  session = new Session(new Position());
  query = session.add({ name: 'a.list', args: '{"of":"a"}' }, sink);
  open();
});

function open() {
  const wishes = session.open();
  seq = 0;
  expect(says({ type: 'session', session: 's', protocol: 1 })).toMatchObject({ damaged: null });
  return wishes;
}

function says(...messages: object[]) {
  return session.read(
    messages.map((message) => parseMessage(JSON.stringify({ seq: seq++, ...message })) as LiveMessage),
  );
}

const result = (data: unknown, hash: string) => says({ type: 'result', id: query.id, hash, data });

describe('the server is told', () => {
  test('all of it in the opening, and afterwards what has changed, once', () => {
    const other = session.add({ name: 'b.list', args: '{}' }, sink);
    expect(session.changes()).toEqual({ add: [{ id: other.id, name: 'b.list', args: {} }], remove: [] });
    expect(session.changes()).toEqual({ add: [], remove: [] });
    session.remove(query);
    expect(session.changes()).toEqual({ add: [], remove: [1] });
    expect(open()).toEqual([{ id: other.id, name: 'b.list', args: {} }]);
  });

  test('no more at once than a server takes, and what is larger by itself', () => {
    const large = session.add({ name: 'b.list', args: JSON.stringify('x'.repeat(300_000)) }, sink);
    const others = Array.from({ length: 3 }, (_, n) =>
      session.add({ name: 'c.list', args: JSON.stringify(`${n}`.repeat(100_000)) }, sink),
    );
    const ids = (wishes: readonly { readonly id: number }[]) => wishes.map(({ id }) => id);
    const [one, two, three] = ids(others);
    expect(ids(open())).toEqual([query.id, one, two]);
    expect(ids(session.changes().add)).toEqual([large.id]);
    expect(ids(session.changes().add)).toEqual([three]);
    expect(session.changes()).toEqual({ add: [], remove: [] });
  });

  test('again what shall go, where that was refused together with what shall come', () => {
    session.remove(query);
    session.add({ name: 'b.list', args: '{}' }, sink);
    const change = session.changes();
    session.refused(change);
    expect(session.changes()).toEqual({ add: [], remove: [query.id] });
    session.refused({ add: [], remove: [query.id] });
    expect(session.changes()).toEqual({ add: [], remove: [] });
  });

  test('nothing of what came and went in between', () => {
    session.remove(session.add({ name: 'b.list', args: '{}' }, sink));
    expect(session.changes()).toEqual({ add: [], remove: [] });
  });

  test('the hash of what is held, unless the whole is asked for', () => {
    result([1], 'h1');
    expect(open()).toEqual([{ id: 1, name: 'a.list', args: { of: 'a' }, hash: 'h1' }]);
    session.renew(query);
    expect(session.changes()).toEqual({ add: [{ id: 2, name: 'a.list', args: { of: 'a' } }], remove: [1] });
  });

  test('no hash of what may not be looked at any more', () => {
    result([1], 'h1');
    says({ type: 'error', id: 1, error: { code: 'FORBIDDEN', message: 'no' } });
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
  test('reports in its order, each result as it then is', () => {
    const reading = says(
      { type: 'result', id: 1, hash: 'h1', data: [{ n: 1 }] },
      { type: 'rows', id: 1, from: 'h1', hash: 'h2', rows: [[0, 1], { row: { n: 2 } }] },
      { type: 'settled', key: 'k' },
    );
    expect(reading).toMatchObject({
      reports: [
        { type: 'result', data: [{ n: 1 }] },
        { type: 'result', data: [{ n: 1 }, { n: 2 }] },
      ],
      signals: [{ type: 'settled', key: 'k' }],
    });
    expect(open()[0]).toHaveProperty('hash', 'h2');
  });

  test('about a query nobody wants any more says nothing', () => {
    session.remove(query);
    expect(says({ type: 'rows', id: 1, from: 'x', hash: 'y', rows: [] })).toMatchObject({ damaged: null, reports: [] });
    expect(session.isOver(query)).toBe(true);
  });

  test('with the hash that is held gives the object that is held, whatever it carries', () => {
    const [first] = reportsOf(result([1], 'h1'));
    const [again] = reportsOf(result([2], 'h1'));
    expect((again as { data: unknown }).data).toBe((first as { data: unknown }).data);
  });

  test('that is damaged changes nothing, but for the name of what it did not fit', () => {
    result([1], 'h1');
    const wrong = says({ type: 'result', id: 1, hash: 'h2', data: [2] }, { type: 'same', id: 1, hash: 'h1' });
    expect(wrong).toEqual({ damaged: 'A same of a.list does not fit what is held' });
    expect(open()[0]).not.toHaveProperty('hash');
    const [whole] = reportsOf(result([1], 'h1'));
    expect((whole as { data: unknown }).data).toEqual([1]);
  });

  test.each([
    ['skips a message', [{ type: 'settled', key: 'k', seq: 2 }]],
    ['repeats one', [{ type: 'settled', key: 'k', seq: 0 }]],
  ])('that %s is damaged', (_what, messages) => {
    expect(says(...messages)).toEqual({ damaged: expect.stringContaining('was due') });
  });

  test('before the session has a name may refuse it, and nothing else', () => {
    session.open();
    seq = 0;
    expect(says({ type: 'result', id: 1, hash: 'h', data: 1 })).toEqual({ damaged: expect.any(String) });
    session.open();
    seq = 0;
    expect(says({ type: 'error', error: { code: 'UNAUTHORIZED', message: 'no' } })).toMatchObject({
      signals: [{ type: 'error' }],
    });
  });
});

test('UNAVAILABLE interrupts a query until anything else is said of it, or the session is lost', () => {
  const unavailable = { type: 'error', id: 1, error: { code: 'UNAVAILABLE', message: 'away' } };
  result([1], 'h1');
  expect(reportsOf(says(unavailable))).toMatchObject([{ type: 'interrupted', query: { interrupted: true } }]);
  expect(reportsOf(says(unavailable))).toEqual([]);
  expect(reportsOf(says({ type: 'same', id: 1, hash: 'h1' }))).toMatchObject([
    { type: 'interrupted', query: { interrupted: false } },
    { type: 'same' },
  ]);
  says(unavailable);
  open();
  expect(query.interrupted).toBe(false);
});

function reportsOf(reading: ReturnType<Session['read']>) {
  if (reading.damaged !== null) throw new Error(reading.damaged);
  return reading.reports;
}
