import { expect, test } from 'vitest';
import { conversationOf, dayName, type Message } from './conversation';

const NOON = new Date(2026, 4, 20, 12).getTime();
let count = 0;
function said(author: string, minutes: number): Message {
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

test('what one person says in one go is one turn', () => {
  expect(shape([said('a', 0), said('a', 1), said('b', 2), said('a', 3)])).toEqual([[['a 0', 'a 1'], ['b 2'], ['a 3']]]);
});

test('a pause begins a new turn', () => {
  expect(shape([said('a', 0), said('a', 4), said('a', 10)])).toEqual([[['a 0', 'a 4'], ['a 10']]]);
});

test('midnight begins a new day, and a new turn', () => {
  expect(shape([said('a', 12 * 60 - 1), said('a', 12 * 60 + 1)])).toEqual([[['a 719']], [['a 721']]]);
});

test('near days have names', () => {
  const today = new Date(2026, 4, 20, 9);
  expect(dayName(new Date(2026, 4, 20), today)).toBe('Today');
  expect(dayName(new Date(2026, 4, 19), today)).toBe('Yesterday');
  expect(dayName(new Date(2026, 4, 18), today)).toMatch(/18/);
});
