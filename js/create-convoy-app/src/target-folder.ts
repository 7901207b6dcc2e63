/** Looks at the folder in which the project will be created. Changes nothing. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { isErrno } from './errno.js';

export interface TargetFolder {
  /** Files and folders that the user has there, except those that a new project may stand beside. */
  readonly present: readonly string[];
  /** Files of the template that exist already. */
  readonly conflicts: readonly string[];
}

/** Files that editors, Git and operating systems put into a folder before there is a project. */
const HARMLESS = ['.git', '.idea', '.vscode', '.DS_Store', 'Thumbs.db', 'LICENSE'];

export async function inspectTarget(folder: string, templateFiles: readonly string[]): Promise<TargetFolder> {
  const present = await entriesOf(folder);
  return {
    present: present.filter((name) => !HARMLESS.includes(name)).sort(),
    conflicts: templateFiles.filter((file) => existsSync(path.join(folder, file))).sort(),
  };
}

async function entriesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    if (isErrno(error, 'ENOTDIR')) throw new Error(`${folder} is a file. Choose another folder.`, { cause: error });
    throw error;
  }
}

const MOST_NAMED = 8;

/** `a, b and 3 more`. */
export function listed(names: readonly string[]): string {
  const rest = names.length - MOST_NAMED;
  if (rest > 0) return `${names.slice(0, MOST_NAMED).join(', ')} and ${rest} more`;
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
