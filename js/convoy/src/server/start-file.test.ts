import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { ScriptedEngine } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { query } from './functions.js';
import { defineStartFile } from './start-file.js';

const source = {
  schema: defineSchema({ notes: defineTable({ text: z.string() }) }),
  functions: { one: query({ handler: () => 1 }) },
};
const url = pathToFileURL(join(tmpdir(), 'not-the-script.ts')).href;
const global = globalThis as { convoyTestEngine?: ScriptedEngine };
const argv = [...process.argv];

beforeEach(() => {
  global.convoyTestEngine = new ScriptedEngine();
  const addon = join(mkdtempSync(join(tmpdir(), 'convoy-start-')), 'addon.cjs');
  writeFileSync(addon, 'module.exports = globalThis.convoyTestEngine;');
  vi.stubEnv('CONVOY_NATIVE_PATH', addon);
  vi.stubEnv('DATABASE_URL', 'postgres://from-env');
  vi.stubEnv('HOST', '');
  vi.stubEnv('PORT', '');
  vi.spyOn(console, 'log').mockImplementation(() => {});
});

afterEach(() => {
  process.argv = [...argv];
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe('a start file', () => {
  it('starts no server when it is imported', () => {
    defineStartFile(url, source);
    expect(global.convoyTestEngine?.opened).toEqual([]);
  });

  it('takes its database from the environment, and fails with a message if it is not set', async () => {
    await defineStartFile(url, source).createConvoyServer({ poolSize: 3, workers: 0 });
    expect(global.convoyTestEngine?.opened).toEqual([{ databaseUrl: 'postgres://from-env', poolSize: 3 }]);
    vi.stubEnv('DATABASE_URL', '');
    await expect(defineStartFile(url, source).createConvoyServer()).rejects.toThrow(/Set DATABASE_URL/);
  });

  it('listens on all interfaces at PORT, prints the address, and drains on SIGTERM', async () => {
    const engine = global.convoyTestEngine as ScriptedEngine;
    const listen = vi.spyOn(engine, 'listen');
    vi.stubEnv('PORT', '8080');
    await defineStartFile(url, async () => source).startConvoyServer({ workers: 0 });
    expect(listen).toHaveBeenCalledWith(JSON.stringify({ host: '0.0.0.0', port: 8080 }));
    expect(console.log).toHaveBeenCalledWith('Convoy listens on http://0.0.0.0:4321');

    const exited = new Promise((resolve) => vi.spyOn(process, 'exit').mockImplementation(resolve as never));
    engine.signal('SIGTERM');
    expect(await exited).toBe(0);
    expect(engine.closed).toBe(1);
  });

  it('rejects an invalid PORT before it connects', async () => {
    vi.stubEnv('PORT', 'http');
    await expect(defineStartFile(url, source).startConvoyServer()).rejects.toThrow(/PORT is "http"/);
    expect(global.convoyTestEngine?.opened).toEqual([]);
  });

  it('starts a server when it is the main script, and prints through the engine', async () => {
    const script = join(mkdtempSync(join(tmpdir(), 'convoy-start-')), 'http.ts');
    writeFileSync(script, '');
    process.argv = ['node', script];
    vi.stubEnv('DATABASE_URL', '');
    const { stdout, stderr } = process;
    const printed = new Promise((resolve) => vi.spyOn(console, 'error').mockImplementation(resolve));
    defineStartFile(pathToFileURL(script).href, source);
    // The message only, without a stack.
    expect(await printed).toMatch(/^Set DATABASE_URL/);
    process.stdout.write('printed');
    for (const [name, value] of Object.entries({ stdout, stderr })) Object.defineProperty(process, name, { value });
    process.exitCode = 0;
    expect(global.convoyTestEngine?.printed).toBe('printed');
  });
});
