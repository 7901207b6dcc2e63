/**
 * The guardian is a small process between this process and Postgres. Its standard input closes when this process ends,
 * for any reason; it then stops Postgres, so that a `kill -9` of this process leaves no Postgres running.
 *
 * It is a shell script because the user that runs Postgres may not be able to read our JavaScript. It runs in its own
 * session, so that Ctrl-C in the terminal reaches only this process. It ends when Postgres has ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { SystemUser } from './data-location.js';
import { spawnOptionsFor } from './run-as.js';

/** Marks the guardian's command line, so that other processes of the project recognise a guarded Postgres. */
export const guardianMark = 'convoy-postgres-guardian';

/**
 * $1 is a folder to delete after the parent has released the guardian or ended, or empty. The rest is the command.
 * Prints the command's pid and nothing else. SIGINT is Postgres' fast shutdown; SIGQUIT, after ten seconds, its
 * immediate one, which is safe but needs recovery.
 */
const script = `
scratch=$1
shift
trap '' INT TERM HUP
exec 3<&0 </dev/null
"$@" >&2 3<&- &
postgres=$!
echo "$postgres"
exec >/dev/null
(
  while read -r _ <&3; do :; done
  if [ -n "$scratch" ]; then : > "$scratch/over"; fi
  kill -INT "$postgres" 2>/dev/null || exit 0
  tenths=0
  while [ "$tenths" -lt 100 ] && kill -0 "$postgres" 2>/dev/null; do
    sleep 0.1
    tenths=$((tenths + 1))
  done
  kill -QUIT "$postgres" 2>/dev/null
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$postgres"
code=$?
kill -KILL "$watcher" 2>/dev/null
if [ -n "$scratch" ] && [ -e "$scratch/over" ]; then rm -rf -- "$scratch"; fi
exit "$code"
`;

export interface GuardianOptions {
  readonly command: readonly string[];
  readonly runAs: SystemUser | null;
  /** An open file for the output of Postgres. */
  readonly logFile: number;
  /** A folder to delete when Postgres has ended after a release or the end of this process. */
  readonly scratch: string | null;
}

export interface Guardian {
  readonly process: ChildProcess;
  /** The pid of the guarded command; rejects when the guardian could not start it. */
  readonly pid: Promise<number>;
  /** Resolves to a description of the exit when the guardian, and so Postgres, has ended; never rejects. */
  readonly ended: Promise<string>;
  /** Requests a fast shutdown. */
  release(): void;
}

export function guard(options: GuardianOptions): Guardian {
  const child = spawn('/bin/sh', ['-c', script, guardianMark, options.scratch ?? '', ...options.command], {
    ...spawnOptionsFor(options.runAs),
    detached: true,
    stdio: ['pipe', 'pipe', options.logFile],
  });
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(describeExit(code, signal)));
    child.once('error', (error) => resolve(error.message));
  });
  const pid = new Promise<number>((resolve, reject) => {
    let output = '';
    child.once('error', reject);
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      if (output.endsWith('\n')) resolve(Number(output));
    });
    child.once('exit', (code, signal) => reject(new Error(`The guardian ended early (${code ?? signal}).`)));
  });
  // A caller that awaits the pid gets the rejection; without one, it must not count as unhandled.
  pid.catch(() => undefined);
  // A write to a guardian that has ended may fail; `ended` reports its end.
  child.stdin?.on('error', () => undefined);
  return { process: child, pid, ended, release: () => child.stdin?.end() };
}

/** Describes an exit code; the shell reports a command killed by a signal as 128 plus the signal's number. */
function describeExit(code: number | null, guardianSignal: NodeJS.Signals | null): string {
  if (code === null) return `its guardian was killed by ${guardianSignal}`;
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal ? `killed by ${signal}` : `exit code ${code}`;
}
