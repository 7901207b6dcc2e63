import { vi } from 'vitest';

/** Waits until `check` does not throw or reject; the time limit only turns a hang into a failure. */
export function until(check: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(check, { timeout: 30_000 });
}
