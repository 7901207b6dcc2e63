import { expect, test } from 'vitest';
import { parseAnswer, parseFrame } from './frames.js';

test('an answer is data or an error, and anything else is not ours', () => {
  expect(parseAnswer('{"ok":true,"data":[1]}')).toEqual({ ok: true, data: [1] });
  expect(parseAnswer('{"ok":true}')).toEqual({ ok: true, data: null });
  const error = { code: 'CONFLICT', message: 'taken' };
  expect(parseAnswer(JSON.stringify({ ok: false, error }))).toEqual({ ok: false, error });
  for (const text of ['', '<html>', 'null', '[]', '{}', '{"ok":"true"}', '{"ok":false}']) {
    expect(parseAnswer(text)).toBeNull();
  }
});

test('a frame is a result or an error, and kinds of a newer server are passed over', () => {
  expect(parseFrame('{"type":"result","name":"a.b","ts":5,"data":null}')).toEqual({
    type: 'result',
    name: 'a.b',
    ts: 5,
    data: null,
  });
  expect(parseFrame('{"type":"error","name":"a.b","ts":5,"error":{"code":"INTERNAL","message":"m"}}')).toMatchObject({
    type: 'error',
    error: { code: 'INTERNAL' },
  });
  for (const text of ['', 'hello', '{"type":"rows","name":"a.b"}', '{"type":"result"}']) {
    expect(parseFrame(text)).toBeNull();
  }
});
