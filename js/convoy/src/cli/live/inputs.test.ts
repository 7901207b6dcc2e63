import { expect, it } from 'vitest';
import { inputsOf, inputsOfServer, parseInputs } from './inputs.js';

it('takes each input of the file and of the live queries once, and none where there is none', () => {
  const file = parseInputs('{ "api.notes.of": [{ "author": "ann" }] }', 'inputs.json');
  const query = (name: string, args: unknown) => ({ function: name, args }) as never;
  const server = inputsOfServer({
    sessions: 1,
    differing: [],
    functions: [],
    queries: [query('notes.of', { author: 'ann' }), query('notes.of', { author: 'bob' }), query('createContext', null)],
  });
  expect(inputsOf('notes.of', [file, server])).toEqual([{ author: 'ann' }, { author: 'bob' }]);
  expect(inputsOf('notes.count', [file, server])).toEqual([{}]);
  expect(server.has('createContext')).toBe(false);
});

it('says how inputs are written', () => {
  for (const text of ['{', '[]', '{ "notes.of": { "author": "ann" } }']) {
    expect(() => parseInputs(text, 'inputs.json')).toThrow(/inputs\.json.*such as \{ "messages\.list"/);
  }
});
