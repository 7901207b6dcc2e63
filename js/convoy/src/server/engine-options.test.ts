import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { ScriptedEngine } from '../../testing/scripted-engine.js';
import { makeQueryRef } from '../protocol/refs.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { openConvoy } from './convoy.js';
import { checkEngineOptions } from './engine-options.js';
import { query } from './functions.js';

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const functions = { one: query({ handler: () => 1 }) };
const one = makeQueryRef<Record<never, never>, number>('one');
const values = { databaseUrl: 'postgres://scripted', schema, functions };
const inModule = { databaseUrl: 'postgres://scripted', program: new URL('file:///program.js') };

/** Opens a Convoy of a scripted engine. */
async function open(options: object) {
  return openConvoy(new ScriptedEngine(), { ...values, ...options } as never);
}

describe('options of createConvoy', () => {
  it.each([
    [{ creatContext: () => ({}) }, 'createConvoy has no option "creatContext". Did you mean createContext?'],
    [{ onEvents: () => {} }, 'Did you mean onEvent?'],
    [{ schemaPolicy: 'inspect' }, 'createConvoy has no option "schemaPolicy".'],
    [{ static: '' }, 'createConvoy: `static` is a folder, such as \'./dist\'; "" was given.'],
    [{ static: 5 }, '5 was given'],
    [{ static: null }, 'null was given'],
    [{ sync: null }, "createConvoy: `sync` is true, false, 'require' or 'inspect'; null was given."],
    [{ sync: 'create' }, '"create" was given'],
    [{ cors: [] }, 'createConvoy: `cors` takes an object of options, not an array.'],
    [{ cors: { origin: 'https://a' } }, 'Did you mean origins?'],
    [{ securityHeaders: [] }, '`securityHeaders` is an object; an array was given.'],
    [{ openapi: 0 }, 'createConvoy: `openapi` is true, false, or { title, version, servers }; 0 was given.'],
    [{ openapi: { titel: 'x' } }, 'createConvoy: `openapi` has no option "titel". Did you mean title?'],
    [{ limits: 5 }, '`limits` is an object; 5 was given.'],
    [{ poolSize: Number.NaN }, 'createConvoy: `poolSize` is NaN; give a number.'],
    [{ trustProxy: Number.NaN }, '`trustProxy` is NaN; give a number.'],
    [{ limits: { queryMs: Number.POSITIVE_INFINITY } }, '`limits.queryMs` is Infinity; give a number.'],
    [{ poolSize: 10n }, '`poolSize` is 10n; give a number.'],
    [{ rateLimit: { per: 'address' } }, 'createConvoy: `rateLimit.tokens` is a whole number'],
    [{ workers: -1 }, 'createConvoy: `workers` is a number of threads'],
    [{ workers: 1 }, 'workers: 1 needs a module that each worker imports.'],
    [{ resourceLimits: { stackSizeMb: 4 } }, 'resourceLimits needs a module that each worker imports.'],
    [{ program: 5 }, 'createConvoy: `program` is the address of a module'],
    [{ program: '' }, '`program` is the address of a module'],
    [{ program: './p.js' }, 'createConvoy: `schema` is an export of the module that `program` names'],
  ])('%o are refused', async (given, problem) => {
    await expect(open(given)).rejects.toThrow(problem);
    await expect(open(given)).rejects.toThrow(TypeError);
  });

  it.each([null, undefined, 'postgres://a', []])('%o is refused in their place', (given) => {
    expect(() => checkEngineOptions(given as never)).toThrow('createConvoy takes an object of options, not ');
  });

  it('are accepted with functions by value and in a module', () => {
    checkEngineOptions({
      ...values,
      workers: 0,
      trustProxy: ['10.0.0.0/8'],
      cors: { origins: [] },
      failpoints: ['noPoll'],
    });
    checkEngineOptions({
      ...inModule,
      schema: undefined,
      workers: 4,
      resourceLimits: {},
      static: './dist',
      sync: false,
    });
  });

  it('may have exports of other kinds beside functions and routes, and members that are undefined', () => {
    const routes = { MAX: Number.POSITIVE_INFINITY };
    checkEngineOptions({ ...values, functions: { ...functions, FIRST: 10n }, routes, port: undefined });
  });

  it('do not have their text in a message, which may be a URL with a password', () => {
    expect(() => checkEngineOptions('postgres://u:secret@h/db' as never)).toThrow(
      new TypeError('createConvoy takes an object of options, not a text.'),
    );
  });

  it('may not name a context beside the module that exports it', () => {
    expect(() => checkEngineOptions({ ...inModule, createContext: () => ({}) })).toThrow(
      'createConvoy: `createContext` is an export of the module that `program` names; export it there, and remove it here.',
    );
  });
});

describe('a running Convoy', () => {
  it.each([
    [8080, 'listen takes an object of options, not 8080.'],
    [null, 'not null'],
    [{ prot: 8080 }, 'listen has no option "prot". Did you mean port?'],
    [{ hostname: '0.0.0.0' }, 'listen has no option "hostname".'],
    [{ port: '8080' }, 'listen: `port` is a number from 0 to 65535; "8080" was given.'],
    [{ port: 70_000 }, '70000 was given'],
    [{ port: Number.NaN }, 'NaN was given'],
    [{ host: null }, 'listen: `host` is a name or an IP address; null was given.'],
    [{ host: '' }, '"" was given'],
  ])('refuses listen(%o)', async (given, problem) => {
    const convoy = await open({});
    await expect(convoy.listen(given as never)).rejects.toThrow(problem);
  });

  it.each([
    [null, 'The argument of load is a program, not null.'],
    ['./program.js', 'not a text.'],
    [{ schema, functions, creatContext: () => ({}) }, 'load has no option "creatContext". Did you mean createContext?'],
    [{ program: 5 }, 'load: `program` is the address of a module'],
    [{ program: './p.js', functions }, 'load: `functions` is an export of the module'],
  ])('refuses load(%o)', async (given, problem) => {
    const convoy = await open({});
    await expect(convoy.load(given as never)).rejects.toThrow(problem);
  });

  it('loads a module namespace with exports of its own', async () => {
    const convoy = await open({});
    await convoy.load({ schema, functions, helper: () => 1, schemas: {} } as never);
  });

  it.each([
    [{ contxt: {} }, 'A call has no option "contxt". Did you mean context?'],
    [{ context: 5 }, 'A call: `context` is an object; 5 was given.'],
    [null, 'A call takes an object of options, not null.'],
  ])('refuses calls with %o', async (given, problem) => {
    const convoy = await open({});
    await expect(convoy.query(one, {}, given as never)).rejects.toThrow(problem);
    await expect(convoy.watch(one, {}, given as never).next()).rejects.toThrow(problem);
  });

  it('refuses headers of a preload under another name', async () => {
    const convoy = await open({});
    await expect(convoy.preload(one, {}, { header: {} } as never)).rejects.toThrow('Did you mean headers?');
  });
});
