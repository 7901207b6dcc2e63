import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DevProblem } from '../cli/dev/report.js';
import { frameOf, overlayError, showProblems } from './overlay.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'convoy-overlay-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const source = ['one', 'two', 'three = => 3', 'four', 'five', 'six'];
const location = { file: 'code.ts', line: 3, column: 8, length: 2, lineText: 'three = => 3' };

describe('the error of the overlay', () => {
  it('has the file, the line and the code around it', () => {
    writeFileSync(path.join(root, 'code.ts'), source.join('\n'));
    const error = overlayError({ message: 'all', diagnostics: [{ text: 'Unexpected "=>"', location }] }, root);
    const file = path.join(root, 'code.ts');
    expect(error).toMatchObject({ plugin: 'convoy', message: 'Unexpected "=>"', id: file });
    expect(error.loc).toEqual({ file, line: 3, column: 9 });
    expect(error.frame?.split('\n')).toEqual([
      '1 | one',
      '2 | two',
      '3 | three = => 3',
      '  |         ^^',
      '4 | four',
      '5 | five',
    ]);
  });

  it('has the line itself if the file has changed or gone', () => {
    const problem: DevProblem = { message: 'all', diagnostics: [{ text: 'gone', location }] };
    expect(overlayError(problem, root).frame).toContain('3 | three = => 3');
    writeFileSync(path.join(root, 'code.ts'), 'other\ntext\nhere');
    expect(overlayError(problem, root).frame).toContain('3 | three = => 3');
  });

  it('lists further errors with their places', () => {
    const diagnostics = [
      { text: 'first', location: null, notes: [{ text: 'a note' }] },
      { text: 'second', location },
    ];
    const error = overlayError({ message: 'all', diagnostics }, root);
    expect(error.message).toBe('first\na note');
    expect(error.stack).toBe(`${path.join(root, 'code.ts')}:3:9: second`);
  });

  it('is the message where the cause is not in the code', () => {
    expect(overlayError({ message: 'no database', diagnostics: [] }, root)).toEqual({
      plugin: 'convoy',
      message: 'no database',
      stack: '',
    });
  });
});

it('marks at least one character, and none after the end of the line', () => {
  expect(frameOf({ ...location, column: 12, length: 9 }, source)).toContain(`  | ${' '.repeat(12)}^\n`);
});

describe('pages', () => {
  const problem: DevProblem = { message: 'broken', diagnostics: [] };

  /** A model of Vite's WebSocket server, and of a `DevServer`. */
  function model() {
    const sent: { type: string }[] = [];
    let connect = (_page: { send(text: string): void }) => {};
    let change = (_problem: DevProblem | null) => {};
    const pages = {
      clients: new Set<object>(),
      on: (_event: string, listener: typeof connect) => {
        connect = listener;
      },
      off: () => {
        connect = () => {};
      },
      send: (payload: { type: string }) => sent.push(payload),
    };
    const devServer = {
      root,
      problem: null as DevProblem | null,
      onProblem: (listener: typeof change) => {
        change = listener;
        return () => {
          change = () => {};
        };
      },
    };
    const stop = showProblems(devServer, pages as never);
    return {
      sent,
      stop,
      report(next: DevProblem | null) {
        devServer.problem = next;
        change(next);
      },
      open() {
        pages.clients.add({});
        const received: { type: string }[] = [];
        connect({ send: (text) => received.push(JSON.parse(text)) });
        return received;
      },
    };
  }

  it('that are open get the error, and an empty update when it is fixed', () => {
    const { sent, open, report } = model();
    expect(open()).toEqual([]);
    report(problem);
    report(null);
    expect(sent.map(({ type }) => type)).toEqual(['update', 'error', 'update']);
  });

  it('that open later get the current error', () => {
    const { sent, open, report } = model();
    report(problem);
    // Vite would keep it for the next page.
    expect(sent).toEqual([]);
    expect(open().map(({ type }) => type)).toEqual(['update', 'error']);
    report(null);
    expect(open()).toEqual([]);
  });

  it('get nothing after the server has closed', () => {
    const { sent, open, report, stop } = model();
    stop();
    report(problem);
    expect([...open(), ...sent]).toEqual([]);
  });
});
