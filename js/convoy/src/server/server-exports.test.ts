import { describe, expect, it } from 'vitest';
import { serverExports, serverProblem } from './server-exports.js';

const createContext = () => ({});
const rls = { role: 'app', settings: () => ({}) };

it('takes of server.ts what belongs to a program', () => {
  expect(serverExports({ createContext, rls, helper: 1 })).toEqual({ createContext, rls });
  expect(serverExports({ helper: 1 })).toEqual({});
  expect(serverExports({ createContext: undefined })).not.toHaveProperty('createContext');
});

describe('server.ts', () => {
  it.each(['createContex', 'creatContext', 'CreateContext', 'createContexts'])(
    'is refused if it exports %s without createContext',
    (name) => {
      expect(serverProblem({ [name]: createContext }, 'convoy/server.ts')).toBe(
        `convoy/server.ts exports ${name}, which is not used. Did you mean createContext? Otherwise give it a name that is less similar.`,
      );
    },
  );

  it.each([
    ['RLS', 'rls'],
    ['rsl', 'rls'],
    ['securitySchemas', 'securitySchemes'],
    ['securityScheme', 'securitySchemes'],
  ])('is refused if it exports %s without %s', (name, meant) => {
    expect(() => serverExports({ createContext, [name]: rls })).toThrow(
      `convoy/server.ts exports ${name}, which is not used. Did you mean ${meant}?`,
    );
  });

  it.each([5, null, 'x', {}, []])('is refused if its createContext is %o', (value) => {
    expect(() => serverExports({ createContext: value })).toThrow(
      /^convoy\/server\.ts exports createContext, which is .+\. Export a function that makes the context of a call, or/,
    );
  });

  it('may have exports of its own', () => {
    const own = [
      'als',
      'urls',
      'roles',
      'rules',
      'rows',
      'auth',
      'db',
      'createClient',
      'makeContext',
      'context',
      'default',
    ];
    for (const name of [...own, 'configureServer', 'query', 'toString']) {
      expect(serverProblem({ [name]: 1 }, 'convoy/server.ts'), name).toBeNull();
    }
    expect(serverProblem({ createContext, createContext2: createContext, rls, RLS: 1 }, 'convoy/server.ts')).toBeNull();
  });
});
