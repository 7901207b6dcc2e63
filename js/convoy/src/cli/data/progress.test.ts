import { expect, test } from 'vitest';
import { describeProgress } from './progress.js';

test('progress has the table, and the part that is done where the total is known', () => {
  const step = { action: 'exporting', table: 'messages', documents: 120_000, total: 1_000_000 };
  expect(describeProgress(step)).toBe('Exporting messages: 120,000 of about 1,000,000 documents (12 %)');
  expect(describeProgress({ ...step, total: null })).toBe('Exporting messages: 120,000 documents');
  // Statistics may be old.
  expect(describeProgress({ ...step, total: 7 })).toBe('Exporting messages: 120,000 documents');
  expect(describeProgress({ ...step, action: 'packing', table: '' })).toBe('Packing');
  expect(describeProgress({ ...step, action: '' })).toBe('');
});
