import { expect, test } from 'vitest';
import { conversationOf, dayName, type Message } from './conversation';

const NOON = new Date(2026, 4, 20, 12).getTime();
let count = 0;
function message(author: string, minutes: number): Message {
  count += 1;
  return {
    id: `messages:${count}` as Message['id'],
    _creationTime: NOON + minutes * 60_000,
    channelId: 'channels:1' as Message['channelId'],
    author,
    body: `${author} ${minutes}`,
  };
}
const shape = (messages: Message[]) =>
  conversationOf(messages).map(({ turns }) => turns.map((turn) => turn.messages.map(({ body }) => body)));

test('consecutive messages of one author are one turn', () => {
  expect(shape([message('a', 0), message('a', 1), message('b', 2), message('a', 3)])).toEqual([
    [['a 0', 'a 1'], ['b 2'], ['a 3']],
  ]);
});

test('a pause starts a new turn', () => {
  expect(shape([message('a', 0), message('a', 4), message('a', 10)])).toEqual([[['a 0', 'a 4'], ['a 10']]]);
});

test('midnight starts a new day and a new turn', () => {
  expect(shape([message('a', 12 * 60 - 1), message('a', 12 * 60 + 1)])).toEqual([[['a 719']], [['a 721']]]);
});

test('today and yesterday have names', () => {
  const today = new Date(2026, 4, 20, 9);
  expect(dayName(new Date(2026, 4, 20), today)).toBe('Today');
  expect(dayName(new Date(2026, 4, 19), today)).toBe('Yesterday');
  expect(dayName(new Date(2026, 4, 18), today)).toMatch(/18/);
});
