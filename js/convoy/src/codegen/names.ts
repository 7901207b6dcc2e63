/** Turns paths and names of a project into names of TypeScript code. Pure. */

/** File endings that may hold functions, and what an import writes for each. */
const importEndings: Readonly<Record<string, string>> = {
  '.ts': '.js',
  '.tsx': '.js',
  '.mts': '.mjs',
  '.js': '.js',
  '.mjs': '.mjs',
};

/** True for a file that may export functions, by its path below `functions/`, with `/` between the parts. */
export function isFunctionFile(file: string): boolean {
  const parts = file.split('/');
  const { stem, ending } = splitEnding(parts.at(-1) ?? '');
  if (parts.some((part) => part.startsWith('.') || part === 'node_modules')) return false;
  return ending in importEndings && !/\.(test|d)$/.test(stem);
}

/** `chat/messages.ts` → `['chat', 'messages']`; an `index` adds nothing. */
export function segmentsOf(file: string): string[] {
  const parts = file.split('/');
  const { stem } = splitEnding(parts.pop() ?? '');
  return stem === 'index' ? parts : [...parts, stem];
}

/** How a TypeScript file names another in an import: with the ending its compiled form has. */
export function asImport(file: string): string {
  const { stem, ending } = splitEnding(file);
  return `${stem}${importEndings[ending] ?? ending}`;
}

function splitEnding(file: string): { stem: string; ending: string } {
  const dot = file.lastIndexOf('.');
  return dot <= 0 ? { stem: file, ending: '' } : { stem: file.slice(0, dot), ending: file.slice(dot) };
}

/** A name as a key of an object type; quoted when it is no identifier. Reserved words are fine as keys. */
export function asKey(name: string): string {
  // Written plainly in an object literal it would set the prototype instead.
  if (name === '__proto__') return "['__proto__']";
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name) ? name : quote(name);
}

/** A string literal with single quotes. */
export function quote(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll("'", "\\'").replaceAll('\\"', '"')}'`;
}

/** Gives each text an identifier that reads like it, and no two the same. */
export class Identifiers {
  readonly #taken = new Set<string>();

  constructor(taken: Iterable<string> = []) {
    for (const name of taken) this.#taken.add(name);
  }

  /** `wanted` with everything that cannot stand in an identifier replaced, and a number where it is taken. */
  give(wanted: string): string {
    const base = wanted.replace(/[^\p{ID_Continue}$]+/gu, '_').replace(/^(?![\p{ID_Start}$_])/u, '_');
    let name = base;
    for (let n = 2; this.#taken.has(name); n += 1) name = `${base}${n}`;
    this.#taken.add(name);
    return name;
  }
}

/** `audit_log` → `AuditLog`. */
export function pascalCase(name: string): string {
  return name
    .split(/[^\p{ID_Continue}$]+|_+/u)
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
}
