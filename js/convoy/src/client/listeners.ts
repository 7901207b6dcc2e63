/** Isolates listeners: an error thrown by one surfaces as uncaught, and the others and the stream go on. */
export function notifyListeners(listeners: ReadonlySet<() => void>): void {
  for (const listener of [...listeners]) {
    try {
      listener();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
