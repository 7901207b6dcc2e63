/**
 * Loads `.env` files into the environment, and reloads them when they change. Variables that are already set take
 * precedence.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'dotenv';
import { isErrno } from './errno.js';

export class EnvFiles {
  /** The paths that are searched; the first file that defines a variable wins. */
  readonly files: readonly string[];
  /** The variables that were set from a file, with their values. */
  readonly #fromFiles = new Map<string, string>();
  readonly #env: NodeJS.ProcessEnv;

  constructor(root: string, cwd: string, env: NodeJS.ProcessEnv = process.env) {
    this.files = [...new Set([path.join(root, '.env'), path.join(cwd, '.env')])];
    this.#env = env;
  }

  /** Reads the files (again). Returns the files that exist, and the names of the variables whose values changed. */
  load(): { readonly loaded: readonly string[]; readonly changed: readonly string[] } {
    const wanted = new Map<string, string>();
    const loaded = this.files.filter((file) => {
      const text = textOf(file);
      if (text === null) return false;
      for (const [name, value] of Object.entries(parse(text))) if (!wanted.has(name)) wanted.set(name, value);
      return true;
    });
    const changed: string[] = [];
    for (const name of [...this.#fromFiles.keys()].filter((each) => !wanted.has(each))) {
      delete this.#env[name];
      this.#fromFiles.delete(name);
      changed.push(name);
    }
    for (const [name, value] of wanted) {
      if (this.#env[name] !== undefined && !this.#fromFiles.has(name)) continue;
      if (this.#fromFiles.get(name) === value) continue;
      this.#env[name] = value;
      this.#fromFiles.set(name, value);
      changed.push(name);
    }
    return { loaded, changed };
  }

  /** Whether a change of the files can change this variable, because the environment itself did not set it. */
  controls(name: string): boolean {
    return this.#fromFiles.has(name) || this.#env[name] === undefined;
  }
}

/**
 * Loads the `.env` files. The one in the project's root wins over the one in the working folder. Returns those that
 * exist.
 */
export function loadEnvFiles(root: string, cwd: string): readonly string[] {
  return new EnvFiles(root, cwd).load().loaded;
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    // A folder of this name is something else, such as a Python virtual environment.
    if (isErrno(error, 'ENOENT') || isErrno(error, 'EISDIR')) return null;
    throw new Error(`${file} could not be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
