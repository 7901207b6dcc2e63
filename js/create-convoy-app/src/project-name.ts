/** The name of a project: its folder's name, which is also the name in its `package.json`. */
import path from 'node:path';

export interface ProjectPlace {
  /** An absolute path. */
  readonly folder: string;
  readonly name: string;
}

/** Where to create the project. Throws with a suggestion if npm does not accept the folder's name. */
export function projectPlace(given: string, cwd: string): ProjectPlace {
  const folder = path.resolve(cwd, given.trim());
  const name = path.basename(folder);
  const problem = nameProblem(name);
  if (problem !== null) throw new Error(problem);
  return { folder, name };
}

const RESERVED = ['node_modules', 'favicon.ico'];
const MAX_LENGTH = 214;

/** Why the name cannot be used, or `null`. The rules are npm's for new packages. */
export function nameProblem(name: string): string | null {
  if (name === '') return 'The folder has no name to call the project by. Give a folder, such as my-app.';
  if (RESERVED.includes(name)) return `${JSON.stringify(name)} cannot be the name of a project.`;
  if (name.length > MAX_LENGTH) return `The name of a project has at most ${MAX_LENGTH} characters.`;
  if (/^[a-z0-9~-][a-z0-9._~-]*$/.test(name)) return null;
  const suggestion = suggestedName(name);
  return (
    `${JSON.stringify(name)} cannot be the name of a project: npm allows lower-case letters, digits, "-", "_" and ".", ` +
    `and no "." or "_" at the start.${suggestion === '' ? '' : ` Try ${suggestion}`}`
  );
}

function suggestedName(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9._~-]+/g, '-')
    .replace(/^[-._]+|-+$/g, '');
}
