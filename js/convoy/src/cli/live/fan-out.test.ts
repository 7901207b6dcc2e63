import { expect, it } from 'vitest';
import { type CheckedQuery, describeFindings, findingsOf, greatestFanOut } from './fan-out.js';

const advice = { text: 'It reads all of `notes`.', table: 'notes', schema: ".index('by_author', ['author'])" };

const queries: readonly CheckedQuery[] = [
  {
    function: 'notes.of',
    args: { author: 'ann' },
    takesInput: true,
    dependsOn: [{ table: 'notes', whole: true, advice }],
  },
  {
    function: 'notes.of',
    args: { author: 'bob' },
    takesInput: true,
    dependsOn: [{ table: 'notes', whole: true, advice }],
  },
  { function: 'notes.count', args: {}, takesInput: false, dependsOn: [{ table: 'notes', whole: true }] },
  {
    function: 'rooms.list',
    args: { room: 'hall' },
    takesInput: true,
    dependsOn: [
      { table: 'rooms', whole: false },
      { table: 'notes', whole: false },
    ],
  },
  { function: 'report', args: {}, takesInput: false, dependsOn: [{ table: null, whole: true }] },
];

it('counts the live queries that a write to each table runs again', () => {
  const findings = findingsOf(queries);
  expect(findings.fanOut).toEqual([
    { table: 'notes', always: 4, sometimes: 1, growing: ['notes.of'] },
    { table: 'rooms', always: 1, sometimes: 1, growing: [] },
    { table: null, always: 1, sometimes: 0, growing: [] },
  ]);
  expect(greatestFanOut(findings)).toBe(4);
  expect(greatestFanOut(findingsOf([]))).toBe(0);
});

it('names each read of a whole table and each missing index once', () => {
  const findings = findingsOf(queries);
  expect(findings.wholeReads).toEqual([
    { function: 'notes.of', table: 'notes' },
    { function: 'notes.count', table: 'notes' },
    { function: 'report', table: null },
  ]);
  expect(findings.missingIndexes).toEqual([{ function: 'notes.of', advice }]);
  expect(describeFindings(findings)).toEqual([
    'notes.of reads all of notes, so every write there runs it again',
    'notes.count reads all of notes, so every write there runs it again',
    'report reads tables that are unknown, so every write there runs it again',
    'notes.of',
    '  It reads all of `notes`.',
    "  schema, table notes: .index('by_author', ['author'])",
    'a write to notes runs 4 live queries again, and up to 1 more by what it changes',
    '  with each further input of notes.of, one more',
    'a write to rooms runs 1 live query again, and up to 1 more by what it changes',
    'a write to any other table runs 1 live query again',
  ]);
});
