/** A program given as a module, which each thread imports by itself. */

import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { FunctionTree, ProgramSource } from './program.js';

/** A program that each thread imports by itself. */
export interface ProgramModule {
  /**
   * A module that exports `schema`, `functions` and optionally `createContext`, `rls`, `routes` and `securitySchemes`; or,
   * as `program` or as the default export, an object of these or a function that returns one. A string that is not a URL
   * is a path from the working directory.
   */
  readonly program: URL | string;
}

/** Whether `source` names a module. */
export function isProgramModule(source: ProgramSource | ProgramModule): source is ProgramModule {
  // A program given from JavaScript may be anything; its check says so.
  return typeof source === 'object' && source !== null && 'program' in source && source.program !== undefined;
}

/** The address of the module, as `import` takes it. */
export function addressOf({ program }: ProgramModule): string {
  if (typeof program !== 'string') return program.href;
  return /^[a-z][a-z+.-]+:/i.test(program) ? program : pathToFileURL(path.resolve(program)).href;
}

/** Imports a module and returns the program it exports. */
export async function importProgram(address: string): Promise<ProgramSource> {
  const module = (await import(address)) as Readonly<Record<string, unknown>>;
  const source = await firstSource([module, module.program, module.default]);
  if (source !== undefined) return source;
  throw new TypeError(`${address} exports no program. Export schema and functions, and createContext if you have one.`);
}

/** The first candidate that is a program, or a function that returns one (as in a start file). */
async function firstSource(candidates: readonly unknown[]): Promise<ProgramSource | undefined> {
  for (const candidate of candidates) {
    const value: unknown = typeof candidate === 'function' ? await candidate() : candidate;
    if (isSource(value)) return value;
  }
  return undefined;
}

function isSource(value: unknown): value is ProgramSource & { readonly functions: FunctionTree } {
  if (typeof value !== 'object' || value === null) return false;
  const { schema, functions } = value as { readonly schema?: unknown; readonly functions?: unknown };
  return isObject(schema) && isObject((schema as { tables?: unknown }).tables) && isObject(functions);
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
