/**
 * One attempt to have Postgres running on a cluster: share the one that runs, clear away what is left over, or launch.
 *
 * Between processes Postgres' own `postmaster.pid` is the lock: of two that launch at once one fails, finds the other
 * and shares it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Binaries } from './binaries.js';
import type { Cluster } from './cluster.js';
import type { SystemUser } from './data-location.js';
import type { PostgresEvent } from './events.js';
import { type Launched, launch, settingsFor } from './launch.js';
import { isFree } from './ports.js';
import { disownPidFile, findPostmaster, postmasterGone, stopPostmaster } from './postmaster.js';

export interface Setup {
  readonly binaries: Binaries;
  readonly runAs: SystemUser | null;
  readonly durable: boolean;
  readonly settings: Readonly<Record<string, string>>;
  readonly scratch: string | null;
  readonly tell: (event: PostgresEvent) => void;
  /** Aborted when we are to stop. */
  readonly stopping: AbortSignal;
}

/** A Postgres that runs now. */
export interface Running extends Launched {
  /** Another process of this project owns it; releasing it only ends our interest. */
  readonly shared: boolean;
}

export type Attempt =
  | { readonly kind: 'running'; readonly running: Running }
  | { readonly kind: 'failed'; readonly portInUse: boolean; readonly detail: string };

/** How long a killed Postgres' last backends, or one we may not look at, are waited for. */
const patienceMs = 10_000;

export async function attempt(cluster: Cluster, setup: Setup): Promise<Attempt> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const shared = await clearTheWay(cluster, setup);
    if (shared) return { kind: 'running', running: shared };
    const outcome = await launchOn(cluster, setup);
    if (outcome.kind === 'running' || !outcome.again || Date.now() > deadline) return outcome;
    await sleep(50);
  }
}

/** Resolves to a Postgres to share, or to null when none is running any more. */
async function clearTheWay(cluster: Cluster, { tell, stopping }: Setup): Promise<Running | null> {
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
      tell({ kind: 'clearing', pid });
      cleared = pid;
    }
    if (finding.guarded) await sleep(20);
    else await stopPostmaster(pid, cluster.data);
  }
}

function share(pid: number, cluster: Cluster, stopping: AbortSignal): Running {
  const interest = new AbortController();
  return {
    pid,
    shared: true,
    ended: postmasterGone(pid, cluster.data, AbortSignal.any([interest.signal, stopping])).then(
      () => 'the convoy that ran it has ended',
    ),
    release: () => interest.abort(),
  };
}

type LaunchAttempt = Attempt & { readonly again?: boolean };

async function launchOn(cluster: Cluster, setup: Setup): Promise<LaunchAttempt> {
  const { port } = cluster.state;
  if (!(await isFree(port))) {
    return { kind: 'failed', portInUse: true, detail: `port ${port} is in use by another program` };
  }
  setup.tell({ kind: 'starting', port });
  const outcome = await launch({
    cluster,
    binaries: setup.binaries,
    runAs: setup.runAs,
    settings: { ...settingsFor(port, setup.durable), ...setup.settings },
    scratch: setup.scratch,
    onRecovering: () => setup.tell({ kind: 'recovering' }),
  });
  if (outcome.kind === 'ready') return { kind: 'running', running: { ...outcome.launched, shared: false } };
  return {
    kind: 'failed',
    portInUse: outcome.reason === 'port in use',
    detail: outcome.detail,
    again: outcome.reason === 'already running' || outcome.reason === 'memory still in use',
  };
}

/** The first attempt comes at once; then the delay doubles from 100 ms up to five seconds. */
export function backoffMs(attemptNumber: number): number {
  return attemptNumber <= 1 ? 0 : Math.min(5_000, 100 * 2 ** (attemptNumber - 2));
}
