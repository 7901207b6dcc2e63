/** Converts paths and names of a project into names in TypeScript code. Pure. */

/** File extensions that may contain functions → the extension in an import. */
const importExtensions: Readonly<Record<string, string>> = {
  '.ts': '.js',
  '.tsx': '.js',
  '.mts': '.mjs',
  '.js': '.js',
  '.mjs': '.mjs',
};

/** Whether a file may export functions, by its path below `functions/`, with `/` as separator. */
export function isFunctionFile(file: string): boolean {
  const parts = file.split('/');
  const { stem, extension } = splitExtension(parts.at(-1) ?? '');
  if (parts.some((part) => part.startsWith('.') || part === 'node_modules')) return false;
  return extension in importExtensions && !/\.(test|d)$/.test(stem);
}

/** `chat/messages.ts` → `['chat', 'messages']`; an `index` adds no segment. */
export function segmentsOf(file: string): string[] {
  const parts = file.split('/');
  const { stem } = splitExtension(parts.pop() ?? '');
  return stem === 'index' ? parts : [...parts, stem];
}

/** The path of a TypeScript file in an import: with the extension of its compiled form. */
export function asImport(file: string): string {
  const { stem, extension } = splitExtension(file);
  return `${stem}${importExtensions[extension] ?? extension}`;
}

function splitExtension(file: string): { stem: string; extension: string } {
  const dot = file.lastIndexOf('.');
  return dot <= 0 ? { stem: file, extension: '' } : { stem: file.slice(0, dot), extension: file.slice(dot) };
}

/** A name as a key of an object type; quoted when it is not an identifier. Reserved words are valid keys. */
export function asKey(name: string): string {
  // As a plain key of an object literal, it would set the prototype.
  if (name === '__proto__') return "['__proto__']";
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name) ? name : quote(name);
}

/** A string literal with single quotes. */
export function quote(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll("'", "\\'").replaceAll('\\"', '"')}'`;
}

/** Allocates unique identifiers that resemble the given names. */
export class Identifiers {
  readonly #taken = new Set<string>();

  constructor(taken: Iterable<string> = []) {
    for (const name of taken) this.#taken.add(name);
  }

  /** `wanted` with invalid characters replaced, and a number appended where the identifier is taken. */
  allocate(wanted: string): string {
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
