/**
 * Maps an error from running the built code to its location in the user's source. The stack may name source files
 * (where source maps are enabled) or the built file; both are handled.
 */
import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SchemaError } from '../../schema/index.js';
import type { Bundle } from './bundle.js';
import type { Diagnostic } from './problem.js';
import { locateProblem } from './schema-location.js';

interface Frame {
  readonly file: string;
  /** From 1, both. */
  readonly line: number;
  readonly column: number;
}

/** The diagnostic of an error that the user's code threw. */
export function diagnosticOf(error: unknown, bundle: Bundle, root: string): Diagnostic {
  const text = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const sources = new Set(bundle.inputs);
  const frame = framesOf(stack)
    .map((each) => (each.file === bundle.file ? originOf(each, bundle) : each))
    .find((each) => each !== null && sources.has(each.file));
  return { text, location: frame ? locationOf(frame, root) : importLocation(text, bundle, root) };
}

/** The diagnostics of an error that the user's code threw: one per problem for a rejected schema, otherwise one. */
export function diagnosticsOf(error: unknown, bundle: Bundle, root: string): Diagnostic[] {
  const diagnostic = diagnosticOf(error, bundle, root);
  const { location } = diagnostic;
  if (!(error instanceof Error) || error.name !== 'SchemaError' || location === null) return [diagnostic];
  const { problems } = error as SchemaError;
  const source = readFileSync(path.resolve(root, location.file), 'utf8');
  return problems.map((problem) => {
    const found = locateProblem(source, problem.path);
    const text = `${problem.path}: ${problem.message}.`;
    return { text, location: found === null ? location : locationAt(source, location.file, found.at, found.length) };
  });
}

/** The frames of a stack, innermost first. */
export function framesOf(stack: string): Frame[] {
  return stack.split('\n').flatMap((line) => {
    const match = /^\s+at (?:.* \()?(.+?):(\d+):(\d+)\)?$/.exec(line);
    if (!match?.[1] || !/^(?:\/|file:|[A-Za-z]:)/.test(match[1])) return [];
    const file = match[1].startsWith('file:') ? fileURLToPath(match[1].replace(/\?.*$/, '')) : path.normalize(match[1]);
    return [{ file: file.replace(/\?.*$/, ''), line: Number(match[2]), column: Number(match[3]) }];
  });
}

function originOf({ line, column }: Frame, bundle: Bundle): Frame | null {
  const entry = new SourceMap(JSON.parse(bundle.sourceMap)).findEntry(line - 1, column - 1);
  if (!('originalSource' in entry)) return null;
  const file = path.resolve(path.dirname(bundle.file), entry.originalSource);
  return { file, line: entry.originalLine + 1, column: entry.originalColumn + 1 };
}

/** An import that fails has no frame; its message names the package, and perhaps the missing export. */
function importLocation(message: string, bundle: Bundle, root: string): Diagnostic['location'] {
  const specifier = /(?:requested module|Cannot find (?:package|module)) '([^']+)'/.exec(message)?.[1];
  if (specifier === undefined) return null;
  const name = /export named '([^']+)'/.exec(message)?.[1] ?? specifier;
  for (const input of bundle.importers.get(specifier) ?? []) {
    const text = readFileSync(path.resolve(root, input), 'utf8');
    const at = findInImport(text, specifier, name);
    if (at === null) continue;
    return locationAt(text, input, at, name.length);
  }
  return null;
}

function locationAt(text: string, file: string, at: number, length: number): Diagnostic['location'] {
  const before = text.slice(0, at).split('\n');
  const [line, column] = [before.length, before.at(-1)?.length ?? 0];
  return { file, line, column, length, lineText: text.split('\n')[line - 1] ?? '' };
}

/** The offset of a name in an import of `specifier`, or null. */
export function findInImport(text: string, specifier: string, name: string): number | null {
  const escapeRegExp = (word: string) => word.replace(/[^\w\s]/g, '\\$&');
  const imports = new RegExp(`\\b(?:import|export)\\b[^;'"]*['"]${escapeRegExp(specifier)}['"]`, 'g');
  for (const match of text.matchAll(imports)) {
    const within = new RegExp(`(?<![\\w$])${escapeRegExp(name)}(?![\\w$])`).exec(match[0]);
    if (within) return match.index + within.index;
  }
  return null;
}

function locationOf({ file, line, column }: Frame, root: string): Diagnostic['location'] {
  const lineText = readFileSync(file, 'utf8').split('\n')[line - 1] ?? '';
  return { file: path.relative(root, file), line, column: column - 1, lineText };
}
