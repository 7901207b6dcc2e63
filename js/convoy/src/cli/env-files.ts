/** Loads `.env` files into the environment, and again when they change; variables that are set already stay as they are. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'dotenv';
import { isErrno } from './errno.js';

export class EnvFiles {
  /** Where they may be, the first wins. */
  readonly files: readonly string[];
  /** What is in the environment because a file says so. */
  readonly #set = new Map<string, string>();
  readonly #env: NodeJS.ProcessEnv;

  constructor(root: string, cwd: string, env: NodeJS.ProcessEnv = process.env) {
    this.files = [...new Set([path.join(root, '.env'), path.join(cwd, '.env')])];
    this.#env = env;
  }

  /** Reads them (again). Returns the files that are there, and the names whose values are not what they were. */
  load(): { readonly loaded: readonly string[]; readonly changed: readonly string[] } {
    const wanted = new Map<string, string>();
    const loaded = this.files.filter((file) => {
      const text = textOf(file);
      if (text === null) return false;
      for (const [name, value] of Object.entries(parse(text))) if (!wanted.has(name)) wanted.set(name, value);
      return true;
    });
    const changed: string[] = [];
    for (const name of [...this.#set.keys()].filter((each) => !wanted.has(each))) {
      delete this.#env[name];
      this.#set.delete(name);
      changed.push(name);
    }
    for (const [name, value] of wanted) {
      if (this.#env[name] !== undefined && !this.#set.has(name)) continue;
      if (this.#set.get(name) === value) continue;
      this.#env[name] = value;
      this.#set.set(name, value);
      changed.push(name);
    }
    return { loaded, changed };
  }

  /** Whether a change of the files can change this variable: the environment itself did not set it. */
  decides(name: string): boolean {
    return this.#set.has(name) || this.#env[name] === undefined;
  }
}

/** The one in the project's root wins over the one in the working folder. Returns those that were there. */
export function loadEnvFiles(root: string, cwd: string): readonly string[] {
  return new EnvFiles(root, cwd).load().loaded;
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    // A folder of this name is something else, such as a virtual environment of Python.
    if (isErrno(error, 'ENOENT') || isErrno(error, 'EISDIR')) return null;
    throw new Error(`${file} could not be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
