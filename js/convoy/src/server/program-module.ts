/** A program as a module: how it is named, and what a thread that imports it finds. */

import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { FunctionTree, ProgramSource } from './program.js';

/** A program that each thread imports by itself. */
export interface ProgramModule {
  /**
   * A module that exports `schema`, `functions` and, where there is one, `createContext`; or an object of these, or a
   * function that gives one, as `program` or as its default. A text that is no URL is a path from the working folder.
   */
  readonly program: URL | string;
}

/** Whether a program is given by its module. */
export function isProgramModule(source: ProgramSource | ProgramModule): source is ProgramModule {
  return 'program' in source && source.program !== undefined;
}

/** The address `import` takes. */
export function addressOf({ program }: ProgramModule): string {
  if (typeof program !== 'string') return program.href;
  return /^[a-z][a-z+.-]+:/i.test(program) ? program : pathToFileURL(path.resolve(program)).href;
}

/** Imports a module and finds the program in it. */
export async function importProgram(address: string): Promise<ProgramSource> {
  const module = (await import(address)) as Readonly<Record<string, unknown>>;
  const source = await firstSource([module, module.program, module.default]);
  if (source !== undefined) return source;
  throw new TypeError(`${address} exports no program. Export schema and functions, and createContext if you have one.`);
}

/** The first of these that is a program, or a function that gives one, as a start file has it. */
async function firstSource(candidates: readonly unknown[]): Promise<ProgramSource | undefined> {
  for (const candidate of candidates) {
    const given: unknown = typeof candidate === 'function' ? await candidate() : candidate;
    if (isSource(given)) return given;
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
