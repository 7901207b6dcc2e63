/**
 * The small process between us and Postgres. It sees its standard input close when we end, however we end, and then
 * stops Postgres, so that a `kill -9` of the parent leaves nothing behind.
 *
 * It is a shell script because the user that runs Postgres may not be able to read our JavaScript. It sits in a
 * session of its own, so that Ctrl-C in the terminal reaches only us. It ends when Postgres has ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { SystemUser } from './data-location.js';
import { spawnOptionsFor } from './run-as.js';

/** Marks the guardian's command line, by which another process of the project recognises a guarded Postgres. */
export const guardianMark = 'convoy-postgres-guardian';

/**
 * $1: a folder to delete once our parent is gone or done, or nothing. The rest: the command. Prints the command's pid,
 * then is silent.
 * SIGINT is Postgres' fast shutdown; SIGQUIT, after ten seconds, its immediate one, which is safe but needs recovery.
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
  /** An open file for everything Postgres says. */
  readonly logFile: number;
  /** A folder to delete when Postgres has ended because we released it or ended ourselves. */
  readonly scratch: string | null;
}

export interface Guardian {
  readonly process: ChildProcess;
  /** The pid of the guarded command; rejects when the guardian could not start it. */
  readonly pid: Promise<number>;
  /** Resolves to how it ended when the guardian, and so Postgres, has ended; never rejects. */
  readonly ended: Promise<string>;
  /** Asks for a fast shutdown. */
  release(): void;
}

export function guard(options: GuardianOptions): Guardian {
  const child = spawn('/bin/sh', ['-c', script, guardianMark, options.scratch ?? '', ...options.command], {
    ...spawnOptionsFor(options.runAs),
    detached: true,
    stdio: ['pipe', 'pipe', options.logFile],
  });
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(howItEnded(code, signal)));
    child.once('error', (error) => resolve(error.message));
  });
  const pid = new Promise<number>((resolve, reject) => {
    let said = '';
    child.once('error', reject);
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk;
      if (said.endsWith('\n')) resolve(Number(said));
    });
    child.once('exit', (code, signal) => reject(new Error(`the guardian ended early (${code ?? signal})`)));
  });
  // Whoever asks for the pid gets the rejection; it must not count as unhandled when nobody asks any more.
  pid.catch(() => undefined);
  // Writing to a guardian that is already gone is no news: its end is reported by `ended`.
  child.stdin?.on('error', () => undefined);
  return { process: child, pid, ended, release: () => child.stdin?.end() };
}

/** The shell reports a command killed by a signal as 128 plus the signal's number. */
function howItEnded(code: number | null, guardianSignal: NodeJS.Signals | null): string {
  if (code === null) return `its guardian was killed by ${guardianSignal}`;
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal ? `killed by ${signal}` : `exit code ${code}`;
}
