/**
 * The process that runs `convoy dev` for the Vite plugin. It sends its output and reports to Vite's process, and stops
 * when that process says so or ends.
 */
import { Writable } from 'node:stream';
import { CodeProblem } from '../cli/code/problem.js';
import { runDev } from '../cli/commands/dev.js';
import { problemOf } from '../cli/dev/report.js';
import { listenForSignals } from '../cli/dev/signals.js';
import { createTerminal, type Terminal } from '../cli/terminal.js';
import { createConvoy } from '../server/convoy.js';
import { loadNative } from '../server/native.js';
import { redirectOutput } from '../server/output.js';
import type { DevSettings, FromDevProcess, ToDevProcess } from './messages.js';

/** The rows of the table of `convoy dev` that matter beside Vite's own address. */
const SHOWN_ROWS = ['Postgres'];

const SLOW_STEP_MS = 1_500;

/** The last message that was sent, so that the process does not exit before it has left. */
let sent: Promise<void> = Promise.resolve();

function send(message: FromDevProcess): void {
  // Without Vite's process there is no reader.
  if (!process.connected) return;
  sent = new Promise((resolve) => process.send?.(message, undefined, undefined, () => resolve()));
}

function terminalInVite(verbose: boolean): Terminal {
  const stream = new Writable({
    decodeStrings: false,
    write(text: string, _encoding, done) {
      send({ kind: 'print', text: text.replace(/\n$/, '') });
      done();
    },
  });
  const terminal = createTerminal({ verbose, stream });
  return {
    ...terminal,
    // Beside Vite's output, the end of a step is enough, unless it takes long.
    async step(text, work) {
      let result = text;
      const timer = setTimeout(() => terminal.info(`${text}…`), SLOW_STEP_MS);
      try {
        const value = await work({
          now: () => {},
          result: (message) => {
            result = message;
          },
        });
        terminal.done(result);
        return value;
      } finally {
        clearTimeout(timer);
      }
    },
    table: (rows) => {
      for (const [name, value] of rows) if (SHOWN_ROWS.includes(name)) terminal.info(`${name}: ${value}`);
    },
  };
}

const { root, schema, port, verbose } = JSON.parse(process.argv[2] ?? '') as DevSettings;
const stopped = new Promise<void>((resolve) => {
  process.once('disconnect', resolve);
  // Vite may have ended before this module was loaded.
  if (!process.connected) resolve();
  process.on('message', ({ kind }: ToDevProcess) => {
    if (kind === 'stop') resolve();
  });
});
const terminal = terminalInVite(verbose);
try {
  redirectOutput(loadNative());
  await runDev(
    { root, schema, verbose, watch: true, serve: true, port: String(port), host: '127.0.0.1' },
    terminal,
    { cwd: process.cwd(), createConvoy },
    { untilStopped: () => Promise.race([listenForSignals(), stopped]), report: send },
  );
} catch (error) {
  process.exitCode = 1;
  if (error instanceof CodeProblem) terminal.problem(error);
  else terminal.fail(error instanceof Error ? error.message : String(error));
  if (error instanceof Error && error.stack) terminal.detail(error.stack);
  send({ kind: 'problem', problem: problemOf(error) });
}
await sent;
// User code loaded here may keep timers and connections open, which must not delay the exit.
process.exit();
