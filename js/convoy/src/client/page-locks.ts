/**
 * Locks among the pages of one origin, which end with the page that holds them. Where there are no Web Locks (Node,
 * React Native), there is one page: each lock is free.
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
  const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  const hold = () => {
    held();
    return ended;
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

/** Whether a page holds the lock. */
export async function isLockHeld(name: string): Promise<boolean> {
  const state = await webLocks()?.query();
  return state?.held?.some((lock) => lock.name === name) ?? false;
}

function webLocks(): LockManager | null {
  // Missing on pages served over plain HTTP from another machine.
  return typeof navigator === 'undefined' ? null : (navigator.locks ?? null);
}
