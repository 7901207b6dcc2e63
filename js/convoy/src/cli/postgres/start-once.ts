/**
 * One attempt to run Postgres on a cluster: shares a running one, stops a leftover one, or launches it.
 *
 * Postgres' own `postmaster.pid` is the lock between processes: of two concurrent launches one fails, finds the other
 * Postgres and shares it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Binaries } from './binaries.js';
import type { Cluster } from './cluster.js';
import type { SystemUser } from './data-location.js';
import type { PostgresEvent } from './events.js';
import { type Launched, launch, settingsFor } from './launch.js';
import { isFree } from './ports.js';
import { disownPidFile, findPostmaster, postmasterGone, stopPostmaster } from './postmaster.js';

/** The parts of a start that stay the same across restarts. */
export interface Setup {
  readonly binaries: Binaries;
  readonly runAs: SystemUser | null;
  readonly durable: boolean;
  readonly settings: Readonly<Record<string, string>>;
  readonly scratch: string | null;
  readonly onEvent: (event: PostgresEvent) => void;
  /** Aborted by `stop`. */
  readonly stopping: AbortSignal;
}

/** A running Postgres. */
export interface Running extends Launched {
  /** Another process of this project owns it; `release` then leaves Postgres running. */
  readonly shared: boolean;
}

export type StartResult =
  | { readonly kind: 'running'; readonly running: Running }
  | { readonly kind: 'failed'; readonly portInUse: boolean; readonly detail: string };

/** The time limit for waiting for the last backends of a killed Postgres, or for one that may not be inspected. */
const RETRY_TIMEOUT_MS = 10_000;

export async function startOnce(cluster: Cluster, setup: Setup): Promise<StartResult> {
  const deadline = Date.now() + RETRY_TIMEOUT_MS;
  for (;;) {
    const shared = await shareOrStopExisting(cluster, setup);
    if (shared) return { kind: 'running', running: shared };
    const result = await launchOn(cluster, setup);
    if (result.kind === 'running' || !result.retryable || Date.now() > deadline) return result;
    await sleep(50);
  }
}

/** Resolves to a Postgres to share, or to null when none is running any more. */
async function shareOrStopExisting(cluster: Cluster, { onEvent, stopping }: Setup): Promise<Running | null> {
  let cleared = 0;
  for (;;) {
    const finding = await findPostmaster(cluster.data);
    if (finding.kind === 'none') return null;
    if (finding.kind === 'stale') {
      await disownPidFile(cluster.data, finding.pid);
      return null;
    }
    const { pid, status } = finding.file;
    if (finding.guarded && status === 'ready') return share(pid, cluster, stopping);
    if ((!finding.guarded || status === 'stopping') && cleared !== pid) {
      onEvent({ kind: 'clearing', pid });
      cleared = pid;
    }
    if (finding.guarded) await sleep(20);
    else await stopPostmaster(pid, cluster.data);
  }
}

function share(pid: number, cluster: Cluster, stopping: AbortSignal): Running {
  const released = new AbortController();
  return {
    pid,
    shared: true,
    ended: postmasterGone(pid, cluster.data, AbortSignal.any([released.signal, stopping])).then(
      () => 'the convoy that ran it has ended',
    ),
    release: () => released.abort(),
  };
}

/** `retryable`: the cause of the failure may pass. */
type LaunchOnceResult = StartResult & { readonly retryable?: boolean };

async function launchOn(cluster: Cluster, setup: Setup): Promise<LaunchOnceResult> {
  const { port } = cluster.state;
  if (!(await isFree(port))) {
    return { kind: 'failed', portInUse: true, detail: `port ${port} is in use by another program` };
  }
  setup.onEvent({ kind: 'starting', port });
  const result = await launch({
    cluster,
    binaries: setup.binaries,
    runAs: setup.runAs,
    settings: { ...settingsFor(port, setup.durable), ...setup.settings },
    scratch: setup.scratch,
    onRecovering: () => setup.onEvent({ kind: 'recovering' }),
  });
  if (result.kind === 'ready') return { kind: 'running', running: { ...result.launched, shared: false } };
  return {
    kind: 'failed',
    portInUse: result.reason === 'port in use',
    detail: result.detail,
    retryable: result.reason === 'already running' || result.reason === 'memory still in use',
  };
}

/** The delay before a restart: none at first, then it doubles from 100 ms up to five seconds. */
export function backoffMs(attemptNumber: number): number {
  return attemptNumber <= 1 ? 0 : Math.min(5_000, 100 * 2 ** (attemptNumber - 2));
}
