/**
 * Reports from the browser whether the page is visible and whether there is a network. In a process without a page
 * (Node, a worker) no event is ever reported.
 */

export interface PageListener {
  /** The network is gone: open connections deliver no data, even where they still look open. */
  offline?(): void;
  /** The network is back, possibly a different one. */
  online?(): void;
  /** The page is visible, possibly again after it was in the back-forward cache. */
  visible?(): void;
  hidden?(): void;
  /** The page is unloaded, or enters the back-forward cache, which a page with a connection or a lock cannot do. */
  left?(): void;
}

/** Reports to `listener` until the returned function is called. */
export function listenToPage(listener: PageListener): () => void {
  if (typeof window === 'undefined' || typeof document === 'undefined') return () => {};
  const stop = new AbortController();
  const on = (target: EventTarget, type: string, handle: (event: Event) => void) =>
    target.addEventListener(type, handle, { signal: stop.signal });
  on(window, 'offline', () => listener.offline?.());
  on(window, 'online', () => listener.online?.());
  on(document, 'visibilitychange', () => (isPageHidden() ? listener.hidden?.() : listener.visible?.()));
  on(window, 'pagehide', () => listener.left?.());
  on(window, 'pageshow', (event) => {
    if (!(event as PageTransitionEvent).persisted) return;
    listener.online?.();
    listener.visible?.();
  });
  return () => stop.abort();
}

/** The browser reports no network. It is sometimes wrong, mostly about servers on the same machine. */
export function isOffline(): boolean {
  return typeof navigator !== 'undefined' && navigator.onLine === false;
}

/** There is a page and it is hidden. */
export function isPageHidden(): boolean {
  return typeof document !== 'undefined' && document.visibilityState === 'hidden';
}
