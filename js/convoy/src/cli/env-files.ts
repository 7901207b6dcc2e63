/** Loads `.env` files into the environment; variables that are set already stay as they are. */
import path from 'node:path';
import { config } from 'dotenv';
import { isErrno } from './errno.js';

/** The one in the project's root wins over the one in the working folder. Resolves to those that were there. */
export function loadEnvFiles(root: string, cwd: string): string[] {
  const files = [...new Set([path.join(root, '.env'), path.join(cwd, '.env')])];
  return files.filter((file) => {
    // Its type tells only of dotenv's own errors; those of the file system come the same way.
    const error: unknown = config({ path: file, quiet: true }).error;
    if (!error) return true;
    if (isErrno(error, 'ENOENT')) return false;
    throw new Error(`${file} could not be read`, { cause: error });
  });
}
