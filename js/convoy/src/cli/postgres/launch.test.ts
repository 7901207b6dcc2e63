import { describe, expect, it } from 'vitest';
import { essence, whyItFailed } from './launch.js';
import { backoffMs } from './start-once.js';

const at = '2026-01-02 03:04:05.678 UTC [42] ';

describe('why Postgres did not start', () => {
  it.each([
    ['port in use', `${at}FATAL:  could not create any TCP/IP sockets`],
    ['already running', `${at}FATAL:  lock file "postmaster.pid" already exists`],
    ['memory still in use', `${at}FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use`],
    ['other', `${at}FATAL:  data directory "/d" has invalid permissions`],
  ])('is "%s"', (reason, line) => {
    expect(whyItFailed([`${at}LOG:  starting PostgreSQL`, line])).toBe(reason);
  });

  it('is told in its own words without time stamps', () => {
    const lines = [`${at}LOG:  starting`, `${at}FATAL:  no space left`, `${at}LOG:  database system is shut down`];
    expect(essence(lines)).toBe('FATAL:  no space left');
    expect(essence([`${at}LOG:  starting`])).toBe('');
  });
});

describe('the wait before starting again', () => {
  it('is none at first, then doubles up to five seconds', () => {
    expect([1, 2, 3, 4, 8, 100].map(backoffMs)).toEqual([0, 100, 200, 400, 5_000, 5_000]);
  });
});
