import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { disownPidFile, findPostmaster, parsePostmasterFile, runsPostgresOn } from './postmaster.js';

const file = (pid: number) => `${pid}\n/data\n1700000000\n15433\n\n127.0.0.1\n  1234567  8\nready   \n`;

describe('reading postmaster.pid', () => {
  it('finds pid, port and status', () => {
    expect(parsePostmasterFile(file(42))).toEqual({ pid: 42, port: 15433, status: 'ready' });
  });

  it('has no status until Postgres has written one', () => {
    expect(parsePostmasterFile('42\n/data\n1700000000\n15433\n')).toEqual({ pid: 42, port: 15433, status: null });
  });

  it.each(['', '\n', 'x\n', '-7\n', '0\n'])('returns null for %j', (text) => {
    expect(parsePostmasterFile(text)).toBeNull();
  });
});

describe('identifying the Postgres of a data folder', () => {
  const of = (...command: string[]) => ({ parent: 1, command });

  it('accepts the program with exactly this data folder', () => {
    expect(runsPostgresOn(of('/x/bin/postgres', '-D', '/p/data', '-c', 'port=1'), '/p/data')).toBe(true);
    expect(runsPostgresOn(of('/x/bin/postgres', '-D', '/p/data'), '/p/data')).toBe(true);
    expect(runsPostgresOn(of('/x/bin/postgres', '-D', '/my', 'app/data'), '/my app/data')).toBe(true);
  });

  it('rejects any other program and any other folder', () => {
    expect(runsPostgresOn(of('/x/bin/postgres', '-D', '/p/data2'), '/p/data')).toBe(false);
    expect(runsPostgresOn(of('/usr/bin/vim', '-D', '/p/data'), '/p/data')).toBe(false);
    expect(runsPostgresOn(of('postgres: checkpointer'), '/p/data')).toBe(false);
    expect(runsPostgresOn(of(), '/p/data')).toBe(false);
  });
});

describe('a data folder with a pid file', () => {
  let data: string;
  beforeEach(async () => {
    data = await mkdtemp(path.join(tmpdir(), 'convoy-pid-'));
  });
  afterEach(() => rm(data, { recursive: true }));

  it('has no Postgres when the pid is dead', async () => {
    const child = spawn('true');
    await once(child, 'exit');
    await writeFile(path.join(data, 'postmaster.pid'), file(child.pid ?? 0));
    expect(await findPostmaster(data)).toEqual({ kind: 'none' });
  });

  it('is stale when the pid belongs to another process now, and is disowned without losing the memory key', async () => {
    await writeFile(path.join(data, 'postmaster.pid'), file(process.pid));
    expect(await findPostmaster(data)).toEqual({ kind: 'stale', pid: process.pid });
    await disownPidFile(data, process.pid);
    expect(await findPostmaster(data)).toEqual({ kind: 'none' });
    const text = await readFile(path.join(data, 'postmaster.pid'), 'utf8');
    expect(text.split('\n').slice(1)).toEqual(file(1).split('\n').slice(1));
  });
});
