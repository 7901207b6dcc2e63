/**
 * Shows what is wrong with the user's code in Vite's overlay, on all open pages and those that are opened later, and
 * removes it when it is fixed.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ErrorPayload, HotPayload, WebSocketServer } from 'vite';
import type { Diagnostic } from '../cli/code/problem.js';
import type { DevProblem } from '../cli/dev/report.js';
import type { DevServer } from './dev-server.js';

/**
 * Removes the overlay. Vite's client reloads the page when its first update finds an overlay, so an empty update also
 * precedes each error: then the one that removes it is not the first.
 */
const CLEAR: HotPayload = { type: 'update', updates: [] };

/** Shows the problems of this server until the returned function is called. */
export function showProblems(
  devServer: Pick<DevServer, 'root' | 'problem' | 'onProblem'>,
  pages: WebSocketServer,
): () => void {
  const root = devServer.root;
  const messagesFor = (problem: DevProblem): HotPayload[] => [
    CLEAR,
    { type: 'error', err: overlayError(problem, root) },
  ];
  const onConnection = (page: { send(text: string): void }) => {
    const { problem } = devServer;
    for (const each of problem === null ? [] : messagesFor(problem)) page.send(JSON.stringify(each));
  };
  pages.on('connection', onConnection);
  const unsubscribe = devServer.onProblem((problem) => {
    // Vite keeps an error for the first page to connect, even if it is fixed by then.
    if (pages.clients.size === 0) return;
    for (const each of problem === null ? [CLEAR] : messagesFor(problem)) pages.send(each);
  });
  return () => {
    pages.off('connection', onConnection);
    unsubscribe();
  };
}

/** The first error with its source; further ones are listed below it. */
export function overlayError({ message, diagnostics }: DevProblem, root: string): ErrorPayload['err'] {
  const [first, ...others] = diagnostics;
  if (first === undefined) return { plugin: 'convoy', message, stack: '' };
  return {
    plugin: 'convoy',
    message: [first.text, ...(first.notes ?? []).map(({ text }) => text)].join('\n'),
    stack: others.map((other) => `${positionOf(other, root)}${other.text}`).join('\n'),
    ...(first.location === null ? {} : sourceOf(first.location, root)),
  };
}

type Location = NonNullable<Diagnostic['location']>;

function positionOf({ location }: Diagnostic, root: string): string {
  return location === null ? '' : `${path.resolve(root, location.file)}:${location.line}:${location.column + 1}: `;
}

function sourceOf(location: Location, root: string): Pick<ErrorPayload['err'], 'id' | 'loc' | 'frame'> {
  const file = path.resolve(root, location.file);
  return {
    id: file,
    loc: { file, line: location.line, column: location.column + 1 },
    frame: frameOf(location, linesOf(file, location)),
  };
}

/** The lines of the file. It may have changed or gone since the error, so the error's own line is certain. */
function linesOf(file: string, { line, lineText }: Location): readonly string[] {
  try {
    const lines = readFileSync(file, 'utf8').split(/\r?\n/);
    if (lines[line - 1] === lineText) return lines;
  } catch {
    // The line in the error is shown without its neighbours.
  }
  return Array.from({ length: line }, (_, index) => (index === line - 1 ? lineText : ''));
}

/** The line of the error between its neighbours, with the place marked below it, in the form that Vite's overlay shows. */
export function frameOf({ line, column, length = 1 }: Location, lines: readonly string[]): string {
  const from = Math.max(1, line - 2);
  const to = Math.min(lines.length, line + 2);
  const width = String(to).length;
  return lines
    .slice(from - 1, to)
    .flatMap((text, index) => {
      const number = from + index;
      const row = `${String(number).padEnd(width)} | ${text}`;
      if (number !== line) return [row];
      const marks = '^'.repeat(Math.max(1, Math.min(length, text.length - column)));
      return [row, `${' '.repeat(width)} | ${' '.repeat(column)}${marks}`];
    })
    .join('\n');
}
