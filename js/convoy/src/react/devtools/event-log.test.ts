import { expect, test } from 'vitest';
import { type Connection, INITIAL } from '../../client/connection.js';
import type { ClientParts } from '../../client/inspection.js';
import type { LiveMessage } from '../../protocol/frames.js';
import { EventLog, MAX_EVENTS } from './event-log.js';
import { record } from './use-inspection.js';

const result = (id: number, cause?: string): LiveMessage => ({
  type: 'result',
  seq: id,
  id,
  hash: 'h',
  position: undefined,
  cause,
  data: [],
});

test('the messages of a frame are logged with the keys of their queries, the latest first', () => {
  const log = new EventLog();
  const keys = new Map([[1, 'notes.list']]);
  log.addFrame([result(1), { type: 'included', seq: 1, key: 'k', result: undefined, ids: [1, 2] }], 5, (id) =>
    keys.get(id),
  );
  log.addConnection('lost', 6);
  expect(log.events).toMatchObject([
    { kind: 'connection', text: 'lost', queries: [], frame: 2, at: 6, size: 0 },
    { kind: 'included', queries: ['notes.list', 'a query that has ended'], frame: 1, at: 5 },
    { kind: 'result', text: 'notes.list', queries: ['notes.list'], frame: 1, size: JSON.stringify(result(1)).length },
  ]);
});

test('a result is logged with the cause that the server gives', () => {
  const log = new EventLog();
  log.addFrame([result(1, 'notes:1 changed, written by notes.edit')], 5, () => 'notes.list');
  expect(log.events[0]?.text).toBe('notes.list (notes:1 changed, written by notes.edit)');
});

test('only the latest events are kept', () => {
  const log = new EventLog();
  for (let n = 0; n < MAX_EVENTS + 10; n++) log.addFrame([result(n)], n, () => 'notes.list');
  expect(log.events).toHaveLength(MAX_EVENTS);
  expect(log.events[0]?.at).toBe(MAX_EVENTS + 9);
});

test('a client is recorded until the recording is stopped', () => {
  const inspected: Connection & { queries: unknown[] } = { ...INITIAL, queries: [] };
  const connection = {
    inspected,
    linkKind: 'stream',
    onFrame: undefined as ((frame: LiveMessage[]) => void) | undefined,
  };
  const live = { onChange: undefined as (() => void) | undefined };
  const log = new EventLog();
  const stop = record({ transport: { connection }, live } as unknown as ClientParts, log, () => {});
  connection.onFrame?.([result(1)]);
  connection.inspected = { ...INITIAL, phase: 'open', queries: [] };
  live.onChange?.();
  expect(log.events).toMatchObject([{ kind: 'connection', text: 'open (stream)' }, { kind: 'result' }]);
  stop();
  expect([connection.onFrame, live.onChange]).toEqual([undefined, undefined]);
});
