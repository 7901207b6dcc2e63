/**
 * Makes each exported function of the addon panic, found by its exports, and sends what JavaScript saw over IPC. Run as
 * a process of its own, which a panic could end. With the argument `uncaught` a panic is not caught.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { z } from 'zod';
import { loadNative } from '../../js/convoy/dist/server/native.js';

/** Exports of the test build alone. */
const OF_TESTS = ['armPanic', 'panicUncaught'];
/** Values for the parameters of the addon's functions, by which a call passes the conversion of its arguments. */
const CANDIDATES = ['{}', 1, () => {}, Buffer.from('a'), true, null];
const MAX_PARAMETERS = 6;

const addon = loadNative();
const [databaseUrl, mistake] = process.argv.slice(2);
if (mistake === 'uncaught') addon.panicUncaught();

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const functions = {
  list: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).length }),
  add: mutation({ handler: (ctx) => ctx.db.insert('notes', { text: 'a' }) }),
};
const list = { kind: 'query', name: 'list' };
let engine;
const { open } = addon;
addon.open = async (options) => {
  engine = await open(options);
  return engine;
};
const convoy = await createConvoy({ schema, functions, databaseUrl, createDatabase: true, workers: 0 });
addon.open = open;
await convoy.mutation({ kind: 'mutation', name: 'add' }, {});

const folder = await mkdtemp(join(tmpdir(), 'convoy-panics-'));
const { describeSchema } = await import('../../js/convoy/dist/schema/index.js');
const tools = await addon.openTools(JSON.stringify({ databaseUrl, schema: describeSchema(schema) }));
await tools.export(JSON.stringify({ to: join(folder, 'export') }));
const files = { from: join(folder, 'export'), rejects: join(folder, 'rejects'), ids: join(folder, 'ids') };
const head = { method: 'POST', url: '/api/query/list', headers: ['host', 'a'], peer: null, answersUnknownPaths: false };
const number = engine.share(() => {});
/** An object of each class, so that a new class needs an entry. */
const objects = {
  NativeEngine: engine,
  NativeExchange: engine.exchange(JSON.stringify(head), 'whole', Buffer.from('{}')),
  NativeWatch: await engine.watch('list', '{}', null),
  NativeWorker: addon.attach(number, 1),
  NativeTools: tools,
  NativeImport: await tools.import(JSON.stringify(files)),
  NativeScan: await tools.scan('notes'),
};

/** The exported functions, each with a way to call it. */
function exported() {
  const found = [];
  for (const [name, value] of Object.entries(addon)) {
    if (OF_TESTS.includes(name) || typeof value !== 'function') continue;
    const members = Object.getOwnPropertyDescriptors(value.prototype ?? {});
    // Only classes have more than a constructor.
    if (!name.startsWith('Native')) {
      found.push([name, (...args) => value(...args)]);
      continue;
    }
    const object = objects[name];
    for (const [member, { value: method, get }] of Object.entries(members)) {
      if (member === 'constructor') continue;
      const call = get === undefined ? (...args) => method.apply(object, args) : () => get.call(object);
      found.push([`${name}.${member}`, call]);
    }
  }
  return found;
}

/** All argument lists, short ones first. */
function* argumentLists(length = 0) {
  if (length > MAX_PARAMETERS) return;
  const build = function* (left) {
    if (left === 0) yield [];
    else for (const rest of build(left - 1)) for (const one of CANDIDATES) yield [...rest, one];
  };
  yield* build(length);
  yield* argumentLists(length + 1);
}

/** Arguments with which the function reaches its panic point, and what it threw. */
function panicOf(call) {
  for (const args of argumentLists()) {
    addon.armPanic('call');
    try {
      call(...args);
      // It has run, and reached no panic point.
      if (addon.armPanic('')) return { args, thrown: null };
    } catch (error) {
      // Still armed: an argument was of another type.
      if (!addon.armPanic('')) return { args, thrown: String(error) };
    }
  }
  return { args: [], thrown: null };
}

const results = [];
for (const [name, call] of exported()) {
  const { args, thrown } = panicOf(call);
  const result = { name, thrown };
  if (thrown !== null && name !== 'handleSignals') {
    addon.armPanic('future');
    try {
      const returned = call(...args);
      if (returned instanceof Promise) {
        result.rejected = await returned.then(
          () => null,
          (error) => String(error),
        );
      }
    } catch {
      // It refuses these arguments before it begins a promise.
    }
    addon.armPanic('');
  }
  results.push(result);
}

// A panic on the way to JavaScript: the call fails or runs again, and the next one is answered.
addon.armPanic('delivery');
const delivered = await convoy.query(list, {}).then(String, (error) => String(error));
const afterwards = await convoy.query(list, {});
process.send({ results, delivered, afterwards }, async () => {
  await tools.close();
  await convoy.close();
  await rm(folder, { recursive: true });
  process.exit(0);
});
