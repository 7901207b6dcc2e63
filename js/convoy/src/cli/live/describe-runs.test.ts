import { expect, it } from 'vitest';
import { describeQuery, describeWaste } from './describe-runs.js';

const cause = {
  kind: 'commit',
  text: 'messages:1 entered by_room where room = "hall", written by messages.send',
  commit: 7,
  by: 'messages.send',
  table: 'messages',
  document: '1',
  read: 'messages: by_room where room = "hall"',
};

it('lists the runs of a query with their causes', () => {
  const first = { kind: 'subscribed', text: 'a client subscribed' };
  expect(
    describeQuery({
      function: 'messages.list',
      args: { room: 'hall' },
      reads: ['messages: by_room where room = "hall"'],
      dependsOn: [],
      subscribers: 2,
      runs: 2,
      causes: {},
      state: 'idle',
      sharedBy: [],
      lastCause: null,
      history: [
        { run: 1, at: 0, ms: 3.14, equal: null, cause: first, furtherCommits: 0 },
        { run: 2, at: 61_002, ms: 12, equal: true, cause, furtherCommits: 1 },
      ],
    }),
  ).toEqual([
    'messages.list {"room":"hall"}: 2 subscribers, 2 runs',
    '  reads messages: by_room where room = "hall"',
    '  00:00:00.000 first       3.1 ms  subscribed: a client subscribed',
    '  00:01:01.002 equal      12.0 ms  commit: messages:1 entered by_room where room = "hall", written by messages.send, and 1 more commit',
  ]);
});

it('says how many runs were wasted, by which reads, and what would avoid them', () => {
  const advice = {
    text: 'It reads all of `messages`.',
    table: 'messages',
    schema: ".index('by_author', ['author'])",
    query: ".withIndex('by_author', (q) => q.eq('author', author))",
  };
  expect(
    describeWaste({
      function: 'messages.list',
      runs: 4,
      equal: 2,
      compared: 3,
      causes: { commit: { runs: 3, equal: 2 }, subscribed: { runs: 1, equal: 0 } },
      reads: [
        { read: 'messages: all of by_creation_time', runs: 3, equal: 2, example: cause, advice },
        { read: 'rooms: one document by its id', runs: 1, equal: 0, example: cause, advice: null },
      ],
      otherEqual: 0,
    }),
  ).toEqual([
    'messages.list: 2 of 3 runs were wasted (67 %): the answer was the same as before',
    '  runs by cause: commit 3 (2 equal), subscribed 1',
    '  2 of 3 runs by messages: all of by_creation_time',
    `    such as: ${cause.text}`,
    '    It reads all of `messages`.',
    "    schema, table messages: .index('by_author', ['author'])",
    "    query: .withIndex('by_author', (q) => q.eq('author', author))",
  ]);
});

it('does not speak of a share where there was nothing to compare with', () => {
  const [line] = describeWaste({
    function: 'a',
    runs: 1,
    equal: 0,
    compared: 0,
    causes: { subscribed: { runs: 1, equal: 0 } },
    reads: [],
    otherEqual: 0,
  });
  expect(line).toBe('a: 0 of 0 runs were wasted: the answer was the same as before');
});
