import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { addressOf, importProgram } from './program-module.js';

/** A module made of text. */
const moduleOf = (text: string): string => `data:text/javascript,${encodeURIComponent(text)}`;

describe('the address of a program', () => {
  it.each([
    ['a URL', new URL('file:///srv/app/program.js'), 'file:///srv/app/program.js'],
    ['a URL as a string', 'file:///srv/app/program.js', 'file:///srv/app/program.js'],
    ['a path', './src/program.js', pathToFileURL('src/program.js').href],
    ['an absolute path', '/srv/app/program.js', pathToFileURL('/srv/app/program.js').href],
  ])('may be %s', (_, program, address) => {
    expect(addressOf({ program })).toBe(address);
  });
});

describe('the program of a module', () => {
  const source = '{ schema: { tables: {} }, functions: { a: 1 } }';

  it.each([
    ['the module itself', `export const { schema, functions } = ${source};`],
    ['its `program`', `export const program = ${source}; export default 1;`],
    ['its default', `export default ${source};`],
  ])('is %s', async (_, text) => {
    const { schema, functions } = await importProgram(moduleOf(text));
    expect({ schema, functions }).toEqual({ schema: { tables: {} }, functions: { a: 1 } });
  });

  it.each([
    ['has no schema', 'export const functions = {};'],
    ['has no functions', 'export const schema = { tables: {} };'],
    ['exports another value as the schema', 'export default { schema: { shape: {} }, functions: {} };'],
  ])('is missing where it %s', async (_, text) => {
    await expect(importProgram(moduleOf(text))).rejects.toThrow(/exports no program/);
  });
});
