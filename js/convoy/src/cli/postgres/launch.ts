/** One attempt to start Postgres under a guardian: it becomes ready, or it fails for a reason. */
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
  /** Settings given on the command line, by name. */
  readonly settings: Readonly<Record<string, string>>;
  /** A folder to delete when Postgres has ended because we released it or ended ourselves. */
  readonly scratch: string | null;
  readonly onRecovering: () => void;
}

export interface Launched {
  readonly pid: number;
  /** Resolves, when Postgres has ended, to what is known of the cause. */
  readonly ended: Promise<string>;
  /** Asks for a fast shutdown; `ended` tells when it is done. */
  release(): void;
}

export type FailureReason = 'port in use' | 'already running' | 'memory still in use' | 'other';

export type LaunchOutcome =
  | { readonly kind: 'ready'; readonly launched: Launched }
  | { readonly kind: 'failed'; readonly reason: FailureReason; readonly detail: string };

/**
 * Settings for data worth keeping, and for data that a crash of the machine may take. Either way a killed Postgres
 * loses nothing it acknowledged. Both speak TCP on the loopback only.
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

export async function launch(options: LaunchOptions): Promise<LaunchOutcome> {
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
  let over = false;
  guardian.ended.then(() => {
    over = true;
  });

  while (!over) {
    if ((await tail.read()).some(saysRecovering)) options.onRecovering();
    const file = await readPostmasterFile(cluster.data);
    if (file?.pid === pid && file.status === 'ready') {
      const ended = guardian.ended.then((how) => account(tail, how));
      return { kind: 'ready', launched: { pid, ended, release: () => guardian.release() } };
    }
    await sleep(10);
  }
  const detail = await account(tail, await guardian.ended);
  return { kind: 'failed', reason: whyItFailed(tail.recent), detail };
}

async function account(tail: LogTail, howItEnded: string): Promise<string> {
  await tail.read();
  return [howItEnded, essence(tail.recent)].filter(Boolean).join('; ');
}

function saysRecovering(line: string): boolean {
  return line.includes('automatic recovery in progress');
}

/** Reads the reason out of Postgres' English log. */
export function whyItFailed(lines: readonly string[]): FailureReason {
  const text = lines.join('\n');
  if (text.includes('could not create any TCP/IP sockets')) return 'port in use';
  if (text.includes('lock file "postmaster.pid" already exists')) return 'already running';
  if (text.includes('pre-existing shared memory block')) return 'memory still in use';
  return 'other';
}

/** What went wrong in Postgres' own words, without time stamps; nothing when it did not say. */
export function essence(lines: readonly string[]): string {
  return lines
    .filter((line) => /\b(FATAL|PANIC|HINT|terminated by signal|could not)\b/.test(line))
    .slice(-4)
    .map((line) => line.replace(/^\S+ \S+ \S+ \[\d+\] /, ''))
    .join('; ');
}
