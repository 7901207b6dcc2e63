import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { defineSchema, defineTable } from '../schema/index.js';
import { query } from './functions.js';
import type { ProgramSource } from './program.js';
import type { ProgramModule } from './program-module.js';
import { openOrReload, type Reloadable, reloadKey } from './reload.js';

class Running implements Reloadable {
  static opened = 0;
  readonly loads: unknown[] = [];
  closed = false;
  fails = false;
  constructor(readonly onClose: () => void) {
    Running.opened += 1;
  }
  async load(source: ProgramSource | ProgramModule): Promise<void> {
    if (this.fails) throw new Error('it does not load');
    this.loads.push(source);
  }
  async close(): Promise<void> {
    this.closed = true;
    this.onClose();
  }
}

const program = (functions: readonly string[], tables: readonly string[] = []): ProgramSource => ({
  schema: defineSchema(Object.fromEntries(tables.map((name) => [name, defineTable({ n: z.number() })]))),
  functions: Object.fromEntries(functions.map((name) => [name, query({ handler: () => null })])),
});

let key = 0;
const create = (source: ProgramSource | ProgramModule, engineOptions: object = {}) =>
  openOrReload({
    key: JSON.stringify([`postgres://${key}`, '/api', 'default']),
    source,
    engineOptions,
    open: async (onClose) => new Running(onClose),
  });

beforeEach(() => {
  key += 1;
  Running.opened = 0;
});
afterEach(() => vi.unstubAllEnvs());

describe('a program that is created again', () => {
  it('is loaded into the running Convoy', async () => {
    const first = await create(program(['list']));
    const edited = program(['list', 'add'], ['notes']);
    expect(await create(edited)).toBe(first);
    expect(await create(program(['add'], ['notes']))).toBe(first);
    expect(Running.opened).toBe(1);
    expect(first.loads).toHaveLength(2);
    expect(first.loads[0]).toBe(edited);
  });

  it('while the first is still opening waits for it', async () => {
    const [first, second] = await Promise.all([create(program(['a'])), create(program(['a']))]);
    expect(second).toBe(first);
    expect(Running.opened).toBe(1);
  });

  it('with other options closes what runs, and opens another', async () => {
    const first = await create(program(['a']), { poolSize: 10 });
    const second = await create(program(['a']), { poolSize: 5 });
    expect(second).not.toBe(first);
    expect(first.closed).toBe(true);
    expect(await create(program(['a']), { poolSize: 5 })).toBe(second);
  });

  it('after it was closed opens another', async () => {
    const first = await create(program(['a']));
    await first.close();
    const second = await create(program(['b']));
    expect(second).not.toBe(first);
    expect(second.closed).toBe(false);
  });

  it('with an error leaves the running one as it is', async () => {
    const first = await create(program(['a']));
    first.fails = true;
    await expect(create(program(['a', 'b']))).rejects.toThrow('it does not load');
    first.fails = false;
    expect(await create(program(['a', 'c']))).toBe(first);
  });
});

describe('another program under the same key is an error that names both', () => {
  it('by their functions and tables', async () => {
    const first = await create(program(['list', 'add', 'remove', 'move'], ['notes']));
    await expect(create(program(['users'], ['people']))).rejects.toThrowErrorMatchingInlineSnapshot(
      `[TypeError: Two programs use one database, base path (/api) and program key (default): the one with add, list, move and 2 more, and the one with users, table people. A development server keeps one Convoy for these. Give each its own name in createConvoy's programKey, or close the first one before the second is created.]`,
    );
    expect(first.closed).toBe(false);
  });

  it('by their modules, whose versions do not matter', async () => {
    const first = await create({ program: new URL('file:///app/chat.js?v=1') });
    expect(await create({ program: new URL('file:///app/chat.js?v=2') })).toBe(first);
    await expect(create({ program: new URL('file:///app/admin.js') })).rejects.toThrow(
      'the program in file:///app/chat.js, and the program in file:///app/admin.js',
    );
  });
});

describe('the key', () => {
  const databaseUrl = 'postgres://app';
  it('consists of database, base path and name', () => {
    vi.stubEnv('NODE_ENV', 'development');
    const keys = [
      { databaseUrl },
      { databaseUrl: 'postgres://other' },
      { databaseUrl, basePath: '/other' },
      { databaseUrl, programKey: 'other' },
    ].map(reloadKey);
    expect(new Set(keys).size).toBe(4);
  });

  it('exists in development servers, and elsewhere only with a name, but never in production', () => {
    const isKept = (environment: string, options: object) => {
      vi.stubEnv('NODE_ENV', environment);
      return reloadKey({ databaseUrl, ...options }) !== null;
    };
    expect(isKept('development', {})).toBe(true);
    expect(isKept('test', {})).toBe(false);
    expect(isKept('test', { programKey: 'chat' })).toBe(true);
    expect(isKept('production', { programKey: 'chat' })).toBe(false);
  });
});
