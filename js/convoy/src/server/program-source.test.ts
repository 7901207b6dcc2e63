import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { ScriptedEngine } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { openConvoy } from './convoy.js';
import { query, route } from './functions.js';
import { describeProgram, prepareProgram } from './program.js';
import { openOrReload } from './reload.js';

const list = query({ handler: () => [] });
const page = route.get('/', () => new Response());
const good = { schema: defineSchema({ notes: defineTable({ text: z.string() }) }), functions: { notes: { list } } };
const module = (exports: object) => Object.freeze({ ...exports, [Symbol.toStringTag]: 'Module', __proto__: null });

const functions = 'give functions by module, such as { messages: { list, send } }.';
const routes = "give routes by name, such as those of import * as routes from './convoy/http.js'.";
const schema = 'which defineSchema has not made. Write schema: defineSchema({ notes: defineTable({ … }) }).';
const context = 'give a function that makes the context of a call, or leave it out.';

const wrong: [string, object, string][] = [
  [
    'a path as functions',
    { functions: './convoy' },
    `The option functions is "./convoy"; ${functions} To load a module, give its path as the option program.`,
  ],
  ['a list as functions', { functions: [list] }, `The option functions is an array; ${functions}`],
  ['a number as functions', { functions: 5 }, `The option functions is 5; ${functions}`],
  ['no functions', { functions: undefined }, `The option functions is undefined; ${functions}`],
  ['a promise as functions', { functions: Promise.resolve({}) }, `functions is an instance of Promise; ${functions}`],
  ['a function as functions', { functions: list }, `The option functions is one function; ${functions}`],
  ['a path as routes', { routes: './http.js' }, `The option routes is "./http.js"; ${routes}`],
  ['a list as routes', { routes: [5] }, `The option routes is an array; ${routes}`],
  ['a number as routes', { routes: 5 }, `The option routes is 5; ${routes}`],
  ['a route as routes', { routes: page }, `The option routes is one route; ${routes}`],
  ['no schema', { schema: undefined }, `The option schema is undefined, ${schema}`],
  ['tables as a schema', { schema: good.schema.tables }, `The option schema is an object, ${schema}`],
  [
    'a schema that is not checked',
    { schema: { tables: { notes: defineTable({}) } } },
    `The option schema is an object, ${schema}`,
  ],
  ['a number as createContext', { createContext: 5 }, `The option createContext is 5; ${context}`],
  ['null as createContext', { createContext: null }, `The option createContext is null; ${context}`],
];

describe('a program', () => {
  it.each(wrong)('with %s is refused', async (_, part, message) => {
    const source = { ...good, ...part } as never;
    expect(() => prepareProgram(source)).toThrow(message);
    expect(() => describeProgram(source, { sync: true })).toThrow(message);
    const engine = new ScriptedEngine();
    await expect(openConvoy(engine, { ...(source as object), databaseUrl: 'postgres://x' } as never)).rejects.toThrow(
      message,
    );
    expect(engine.opened).toEqual([]);
    const open = () => Promise.reject(new Error('it was opened'));
    expect(() => openOrReload({ key: message, source, engineOptions: {}, open })).toThrow(message);
  });

  it.each([undefined, null, 5, './convoy.js'])('that is %o is refused', (source) => {
    expect(() => prepareProgram(source as never)).toThrow(
      `A program is an object with schema and functions; ${JSON.stringify(source) ?? 'undefined'} was given.`,
    );
  });

  it('may have no functions, and modules for functions and routes', () => {
    for (const part of [
      { functions: {} },
      { functions: module({ list }), routes: module({ page, helper: 1 }), createContext: () => ({}) },
      { functions: Object.create(null), routes: undefined, createContext: undefined },
    ]) {
      expect(() => prepareProgram({ ...good, ...part } as never)).not.toThrow();
    }
  });
});
