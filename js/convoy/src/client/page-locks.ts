/**
 * Locks among the pages of one origin, which end with the page that holds them. Where there are no Web Locks (Node before
 * 24.5, React Native), there is one page: each lock is free.
 */

/**
 * Holds a lock until `signal` is aborted. Calls `held` once the lock is acquired, which may take for ever; where another
 * page has it now, first `busy`.
 */
export function holdLock(name: string, signal: AbortSignal, held: () => void, busy: () => void = () => {}): void {
  const locks = webLocks();
  if (locks === null) {
    held();
    return;
  }
  const hold = () => {
    held();
    return aborted(signal);
  };
  const acquire = async () => {
    const isBusy = await locks.request(name, { ifAvailable: true }, async (lock) => {
      if (lock === null) return true;
      await hold();
      return false;
    });
    if (!isBusy || signal.aborted) return;
    busy();
    await locks.request(name, { signal }, hold);
  };
  acquire().catch((error: unknown) => {
    if (signal.aborted) return;
    // The page may not use locks, such as one in a sandbox.
    console.warn('Convoy: this page cannot use Web Locks.', error);
    held();
  });
}

/** Acquires a lock that no page has, and holds it until `signal` is aborted; resolves with whether it did. */
export async function tryLock(name: string, signal: AbortSignal): Promise<boolean> {
  const locks = webLocks();
  if (locks === null) return true;
  return new Promise((resolve) => {
    const hold = (lock: Lock | null) => {
      resolve(lock !== null);
      return lock === null ? undefined : aborted(signal);
    };
    // The page may not use locks, such as one in a sandbox.
    locks.request(name, { ifAvailable: true }, hold).catch(() => resolve(true));
  });
}

/** Whether this browser would have locks, but not for a page loaded over plain HTTP from another machine. */
export function locksNeedHttps(): boolean {
  return globalThis.isSecureContext === false && webLocks() === null;
}

/** Whether a page holds the lock. */
export async function isLockHeld(name: string): Promise<boolean> {
  const state = await webLocks()?.query();
  return state?.held?.some((lock) => lock.name === name) ?? false;
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function webLocks(): LockManager | null {
  // Missing on pages served over plain HTTP from another machine.
  return typeof navigator === 'undefined' ? null : (navigator.locks ?? null);
}
