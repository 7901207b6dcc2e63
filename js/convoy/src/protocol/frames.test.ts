import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { MESSAGES, PROTOCOL, parseAnswer, parseFrame, parseMessage } from './frames.js';

test('a response to a call is data or an error, and any other body is rejected', () => {
  expect(parseAnswer('{"ok":true,"data":[1]}')).toEqual({ ok: true, data: [1] });
  expect(parseAnswer('{"ok":true}')).toEqual({ ok: true, data: null });
  const error = { code: 'CONFLICT', message: 'taken' };
  expect(parseAnswer(JSON.stringify({ ok: false, error }))).toEqual({ ok: false, error });
  for (const text of ['', '<html>', 'null', '[]', '{}', '{"ok":"true"}', '{"ok":false}']) {
    expect(parseAnswer(text)).toBeNull();
  }
});

const error = { code: 'INTERNAL', message: 'm' };
/** One message of each kind, with all its members. */
const WHOLE = [
  { type: 'session', seq: 0, session: 'ab', protocol: 1 },
  { type: 'result', seq: 1, id: 7, hash: 'h', position: 'p', cause: 'c', data: null },
  {
    type: 'rows',
    seq: 2,
    id: 7,
    from: 'h',
    hash: 'i',
    position: 'p',
    cause: 'c',
    rows: [[0, 2], { row: null }],
    rest: { a: 1 },
  },
  { type: 'same', seq: 3, id: 7, hash: 'h', position: 'p' },
  { type: 'error', seq: 4, id: 7, error },
  { type: 'settled', seq: 5, key: 'k' },
  { type: 'included', seq: 5, key: 'k', result: 'id', ids: [1, 2] },
  { type: 'auth', seq: 6, error },
  { type: 'end', seq: 7, reason: 'shutdown', retryMs: 10 },
] as const;

describe('a message', () => {
  test.each(WHOLE)('of type $type is parsed, and may have unknown members', (message) => {
    expect(parseMessage(JSON.stringify(message))).toEqual(message);
    expect(parseMessage(JSON.stringify({ ...message, later: true }))).toMatchObject(message);
  });

  test.each(WHOLE)(
    'of type $type without a required member, or with one of the wrong type, is malformed',
    (message) => {
      const optional = new Set(['position', 'cause', 'rest', 'result', ...(message.type === 'error' ? ['id'] : [])]);
      for (const name of Object.keys(message).filter((name) => name !== 'type')) {
        const { [name]: _, ...without } = message as Record<string, unknown>;
        const read = parseMessage(JSON.stringify(without));
        if (optional.has(name)) expect(read).toEqual(without);
        else expect(read).toBeNull();
        // Any JSON value may be data or a mutation's result.
        if (name !== 'data' && name !== 'result')
          expect(parseMessage(JSON.stringify({ ...message, [name]: true }))).toBeNull();
      }
    },
  );

  test('of an unknown type is parsed as `unknown`, with its sequence number', () => {
    expect(parseMessage('{"type":"weather","seq":4}')).toEqual({ type: 'unknown', seq: 4 });
    expect(parseMessage('{"type":"toString","seq":4}')).toEqual({ type: 'unknown', seq: 4 });
  });

  test.each(['', 'hello', '[]', 'null', '{"seq":1}', '{"type":"same"}', '{"type":"same","seq":-1}'])(
    'is not %j',
    (text) => {
      expect(parseMessage(text)).toBeNull();
    },
  );

  test.each(['[[0]]', '[[0,1.5]]', '[[-1,1]]', '[{"raw":1}]', '[null]', '{"0":[0,1]}'])(
    'has no pieces like %s',
    (rows) => {
      expect(parseMessage(`{"type":"rows","seq":1,"id":1,"from":"a","hash":"b","rows":${rows}}`)).toBeNull();
    },
  );
});

test('a frame is a list of valid messages; a blank one is a heartbeat', () => {
  expect(parseFrame(WHOLE.map((message) => JSON.stringify(message)).join('\n'))).toEqual(WHOLE);
  expect(parseFrame('\n')).toEqual([]);
  expect(parseFrame('')).toEqual([]);
  expect(parseFrame(`${JSON.stringify(WHOLE[0])}\nwhat`)).toBeNull();
});

/**
 * Clients open in browsers are not updated with the server. A change of the messages that such a client would
 * misunderstand requires another `PROTOCOL`; then, and for changes that it ignores, update the hash.
 */
test('the messages of this protocol version have not changed', () => {
  const shapes = createHash('sha256').update(JSON.stringify(MESSAGES)).digest('hex').slice(0, 16);
  expect({ PROTOCOL, shapes }).toEqual({ PROTOCOL: 1, shapes: '08dd56b96d827680' });
});
