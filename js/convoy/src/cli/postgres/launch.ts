/** Starts Postgres once under a guardian, and waits until it is ready or has failed. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Binaries } from './binaries.js';
import type { Cluster } from './cluster.js';
import type { SystemUser } from './data-location.js';
import { type Guardian, guard } from './guardian.js';
import { closeLog, LogTail, openLog } from './log-tail.js';
import { readPostmasterFile } from './postmaster.js';

export interface LaunchOptions {
  readonly cluster: Cluster;
  readonly binaries: Binaries;
  readonly runAs: SystemUser | null;
  /** Command-line settings by name. */
  readonly settings: Readonly<Record<string, string>>;
  /** A folder to delete when Postgres has ended after a release or the end of this process. */
  readonly scratch: string | null;
  readonly onRecovering: () => void;
}

export interface Launched {
  readonly pid: number;
  /** Resolves when Postgres has ended, to a description of the cause. */
  readonly ended: Promise<string>;
  /** Requests a fast shutdown; `ended` resolves when it is complete. */
  release(): void;
}

export type FailureReason = 'port in use' | 'already running' | 'memory still in use' | 'other';

export type LaunchResult =
  | { readonly kind: 'ready'; readonly launched: Launched }
  | { readonly kind: 'failed'; readonly reason: FailureReason; readonly detail: string };

/**
 * The server settings for durable data, or for data that may be lost when the machine crashes. In both cases, a killed
 * Postgres loses no acknowledged commit, and listens on the loopback address only.
 */
export function settingsFor(port: number, durable: boolean): Record<string, string> {
  return {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    log_line_prefix: '%m [%p] ',
    timezone: 'UTC',
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
  };
}

export async function launch(options: LaunchOptions): Promise<LaunchResult> {
  const { cluster, binaries, settings } = options;
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const logFile = openLog(cluster.log, options.runAs);
  const tail = new LogTail(cluster.log);
  let guardian: Guardian;
  try {
    guardian = guard({
      command: [binaries.postgres, '-D', cluster.data, ...flags],
      runAs: options.runAs,
      logFile,
      scratch: options.scratch,
    });
  } finally {
    closeLog(logFile);
  }
  const pid = await guardian.pid;
  let hasEnded = false;
  guardian.ended.then(() => {
    hasEnded = true;
  });

  while (!hasEnded) {
    if ((await tail.read()).some(isRecoveryLine)) options.onRecovering();
    const file = await readPostmasterFile(cluster.data);
    if (file?.pid === pid && file.status === 'ready') {
      const ended = guardian.ended.then((exit) => describeEnd(tail, exit));
      return { kind: 'ready', launched: { pid, ended, release: () => guardian.release() } };
    }
    await sleep(10);
  }
  const detail = await describeEnd(tail, await guardian.ended);
  return { kind: 'failed', reason: failureReason(tail.recent), detail };
}

async function describeEnd(tail: LogTail, exit: string): Promise<string> {
  await tail.read();
  return [exit, errorSummary(tail.recent)].filter(Boolean).join('; ');
}

function isRecoveryLine(line: string): boolean {
  return line.includes('automatic recovery in progress');
}

/** Finds the reason of a failed start in Postgres' English log. */
export function failureReason(lines: readonly string[]): FailureReason {
  const text = lines.join('\n');
  if (text.includes('could not create any TCP/IP sockets')) return 'port in use';
  if (text.includes('lock file "postmaster.pid" already exists')) return 'already running';
  if (text.includes('pre-existing shared memory block')) return 'memory still in use';
  return 'other';
}

/** The last error lines of Postgres' log without time stamps; empty if there are none. */
export function errorSummary(lines: readonly string[]): string {
  return lines
    .filter((line) => /\b(FATAL|PANIC|HINT|terminated by signal|could not)\b/.test(line))
    .slice(-4)
    .map((line) => line.replace(/^\S+ \S+ \S+ \[\d+\] /, ''))
    .join('; ');
}
