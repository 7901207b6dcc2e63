import { createParser } from 'eventsource-parser';
import { expect, test } from 'vitest';
import { seededRandom } from '../../testing/model-server.js';
import { EventStreamParser } from './event-stream.js';

function parsed(parts: readonly string[], maxChars = 1_000): string[] {
  const events: string[] = [];
  const parser = new EventStreamParser(maxChars, (data) => events.push(data));
  for (const part of parts) expect(parser.feed(part)).toBe(true);
  return events;
}

test('the data of an event is its lines, without the space after the colon', () => {
  expect(parsed(['data: one\ndata:two\ndata:  three\n\n'])).toEqual(['one\ntwo\n three']);
});

test('comments, other fields and events without data are skipped', () => {
  expect(parsed([': heartbeat\n\n', 'id: 7\nevent: x\n\n', 'retry: 1\ndata: one\nid: 8\n\n'])).toEqual(['one']);
});

test('an event ends with its empty line, not with the stream', () => {
  expect(parsed(['data: one\n\ndata: two\n'])).toEqual(['one']);
});

test('an event that grows too large is reported while it arrives', () => {
  const parser = new EventStreamParser(10, () => {});
  expect(parser.feed('data: 12345')).toBe(false);
  const lines = new EventStreamParser(10, () => {});
  expect(lines.feed('data: 1234\n')).toBe(true);
  expect(lines.feed('data: 123456\n')).toBe(false);
});

test('any cut of a stream gives the events that the library for event streams finds', () => {
  const random = seededRandom(11);
  const pick = <T>(all: readonly T[]): T => all[random(all.length)] as T;
  for (let round = 0; round < 300; round++) {
    const end = pick(['\n', '\r\n']);
    let stream = '';
    for (let n = 0; n < 12; n++) {
      stream += pick([
        'data: {"a":1}',
        'data:x',
        'data',
        'datax: 1',
        'data: ü\u2028 ',
        ': ping',
        'id: 3',
        'event: x',
        '',
        '',
        ' data: no',
      ]);
      stream += end;
    }
    const expected: string[] = [];
    const library = createParser({ onEvent: ({ data }) => expected.push(data) });
    library.feed(stream);
    const parts: string[] = [];
    for (let at = 0; at < stream.length; ) {
      const length = 1 + random(9);
      parts.push(stream.slice(at, at + length));
      at += length;
    }
    expect(parsed(parts), JSON.stringify(stream)).toEqual(expected);
  }
});
