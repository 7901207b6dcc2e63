/**
 * One line of a terminal that shows that a step is running. It listens to no signal and reads no key: packages for
 * spinners end the process at Ctrl-C, and `convoy` has to stop Postgres first.
 */
import { clearLine, cursorTo } from 'node:readline';
import pc from 'picocolors';

export interface Spinner {
  text: string;
  /** Clears the line and stops; what is printed next takes its place. */
  stop(): void;
}

export type TerminalStream = NodeJS.WritableStream & { readonly columns?: number };

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const INTERVAL_MS = 80;

export function startSpinner(stream: TerminalStream, text: string): Spinner {
  let turn = 0;
  const spinner = { text, stop };
  const draw = () => {
    // A line that wraps could not be cleared.
    const room = Math.max(0, (stream.columns ?? 80) - 3);
    const shown = spinner.text.length > room ? `${spinner.text.slice(0, Math.max(0, room - 1))}…` : spinner.text;
    erase();
    stream.write(`${pc.cyan(FRAMES[turn % FRAMES.length] ?? '')} ${shown}`);
    turn += 1;
  };
  const erase = () => {
    cursorTo(stream, 0);
    clearLine(stream, 0);
  };
  const timer = setInterval(draw, INTERVAL_MS).unref();
  function stop() {
    clearInterval(timer);
    erase();
  }
  draw();
  return spinner;
}
