/**
 * Runs a shortcut when its letter and Enter are typed in the terminal of `convoy dev`. Whole lines are read, not single
 * keys, so that Ctrl-C stays with the terminal, and works while JavaScript is blocked.
 */
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import pc from 'picocolors';
import type { Terminal } from '../terminal.js';

export interface Shortcut {
  /** The text to type; the first one is shown. */
  readonly names: readonly string[];
  /** `restart the server` */
  readonly does: string;
  readonly run: () => void | Promise<void>;
}

/** Runs these shortcuts, and `h` that lists them, until the returned function is called. */
export function listenForShortcuts(
  shortcuts: readonly Shortcut[],
  terminal: Terminal,
  input: Readable = process.stdin,
): () => void {
  const help: Shortcut = {
    names: ['h', 'help'],
    does: 'list the shortcuts',
    run: () => {
      for (const { names, does } of all) terminal.info(`${pc.bold(names[0] ?? '')} + Enter  ${does}`);
    },
  };
  const all = [...shortcuts, help];
  // In terminal mode, readline would capture Ctrl-C.
  const lines = createInterface({ input, terminal: false });
  let running = Promise.resolve();
  lines.on('line', (line) => {
    const shortcut = all.find(({ names }) => names.includes(line.trim().toLowerCase()));
    if (shortcut === undefined) return;
    running = running.then(shortcut.run).catch((error: unknown) => {
      terminal.fail(error instanceof Error ? error.message : String(error));
    });
  });
  return () => {
    lines.close();
    // An open pipe on stdin must not keep this process alive.
    input.destroy();
  };
}
