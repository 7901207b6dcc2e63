import { describe, expect, it } from 'vitest';
import { errorSummary, failureReason } from './launch.js';
import { backoffMs } from './start-once.js';

const at = '2026-01-02 03:04:05.678 UTC [42] ';

describe('the reason of a failed start', () => {
  it.each([
    ['port in use', `${at}FATAL:  could not create any TCP/IP sockets`],
    ['already running', `${at}FATAL:  lock file "postmaster.pid" already exists`],
    ['memory still in use', `${at}FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use`],
    ['other', `${at}FATAL:  data directory "/d" has invalid permissions`],
  ])('is "%s"', (reason, line) => {
    expect(failureReason([`${at}LOG:  starting PostgreSQL`, line])).toBe(reason);
  });

  it('is summarised by the error lines of the log without time stamps', () => {
    const lines = [`${at}LOG:  starting`, `${at}FATAL:  no space left`, `${at}LOG:  database system is shut down`];
    expect(errorSummary(lines)).toBe('FATAL:  no space left');
    expect(errorSummary([`${at}LOG:  starting`])).toBe('');
  });
});

describe('the delay before a restart', () => {
  it('is none at first, then doubles up to five seconds', () => {
    expect([1, 2, 3, 4, 8, 100].map(backoffMs)).toEqual([0, 100, 200, 400, 5_000, 5_000]);
  });
});
