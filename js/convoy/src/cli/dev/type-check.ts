/**
 * Checks the types of the project beside `convoy dev`: the project's own TypeScript runs in watch mode, as a process of
 * low priority, and its errors are printed. It never delays or prevents the loading of code.
 */
import { fork } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setPriority } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { count } from '../count.js';
import type { ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';

/** Below that of the server, and above that of work in the background. */
const NICENESS = 5;

/** The errors of one check that are printed. */
const MAX_PRINTED = 10;

/** Starts the check. Returns a function that ends it, or `null` if the project has no TypeScript or no tsconfig.json. */
export function checkTypes(layout: ProjectLayout, terminal: Terminal): (() => Promise<void>) | null {
  const compiler = compilerOf(layout.root);
  const config = path.join(layout.root, 'tsconfig.json');
  if (compiler === null || !existsSync(config)) return null;
  const flags = ['--noEmit', '--watch', '--preserveWatchOutput', '--pretty', 'false', '--project', config];
  const child = fork(fileURLToPath(new URL('./type-check-process.js', import.meta.url)), [compiler, ...flags], {
    cwd: layout.root,
    execArgv: [],
    // Ctrl-C in the terminal reaches only this process, which ends the other.
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
  });
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      terminal.warn(`Types are not checked: ${error.message}`);
      resolve();
    });
    // Not `close`, which Node does not emit after `disconnect()` here.
    child.once('exit', () => resolve());
  });
  if (child.pid !== undefined) lowerPriority(child.pid, terminal);
  const checks = new TypeChecks((errors) => print(errors, terminal));
  if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => checks.add(line));
  return async () => {
    if (child.connected) child.disconnect();
    await ended;
  };
}

/** The program `tsc` of the project, or `null`. */
function compilerOf(root: string): string | null {
  try {
    const manifest = createRequire(path.join(root, 'package.json')).resolve('typescript/package.json');
    const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { readonly bin?: { readonly tsc?: string } };
    return bin?.tsc === undefined ? null : path.join(path.dirname(manifest), bin.tsc);
  } catch {
    // It is not installed.
    return null;
  }
}

function lowerPriority(pid: number, terminal: Terminal): void {
  try {
    setPriority(pid, NICENESS);
  } catch (error) {
    terminal.detail(`The priority of the type check cannot be lowered: ${String(error)}`);
  }
}

/** Collects the output of `tsc --watch` into checks, and reports each that differs from the one before. */
export class TypeChecks {
  readonly #report: (errors: readonly string[]) => void;
  #errors: string[] = [];
  #last = '';

  constructor(report: (errors: readonly string[]) => void) {
    this.#report = report;
  }

  add(line: string): void {
    if (/\berror TS\d+:/.test(line)) this.#errors.push(withPosition(line));
    // The explanation of an error is indented.
    else if (/^\s+\S/.test(line) && this.#errors.length > 0) this.#errors.push(`${this.#errors.pop()}\n${line}`);
    else if (/Found \d+ errors?\./.test(line)) this.#end();
  }

  #end(): void {
    const text = this.#errors.join('\n');
    if (text !== this.#last) this.#report(this.#errors);
    this.#last = text;
    this.#errors = [];
  }
}

/** `a.ts(1,7): error TS2322: …` as `a.ts:1:7: TS2322: …`, which terminals and editors make a link. */
function withPosition(line: string): string {
  return line.replace(/^(.+?)\((\d+),(\d+)\): error /, '$1:$2:$3: ').replace(/^error /, '');
}

function print(errors: readonly string[], terminal: Terminal): void {
  if (errors.length === 0) {
    terminal.done('Types: no errors any more');
    return;
  }
  terminal.warn(`Types: ${count(errors.length, 'error')}. The code runs all the same`);
  for (const error of errors.slice(0, MAX_PRINTED)) terminal.info(error);
  if (errors.length > MAX_PRINTED) terminal.info(`and ${count(errors.length - MAX_PRINTED, 'more error')}`);
}
