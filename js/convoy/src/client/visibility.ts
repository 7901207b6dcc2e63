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
  const onVisibilityChange = () => (document.visibilityState === 'hidden' ? listener.hidden?.() : listener.visible?.());
  const stop = new AbortController();
  window.addEventListener('offline', () => listener.offline?.(), { signal: stop.signal });
  window.addEventListener('online', () => listener.online?.(), { signal: stop.signal });
  document.addEventListener('visibilitychange', onVisibilityChange, { signal: stop.signal });
  window.addEventListener('pagehide', () => listener.left?.(), { signal: stop.signal });
  const onPageShow = ({ persisted }: PageTransitionEvent) => {
    if (!persisted) return;
    listener.online?.();
    listener.visible?.();
  };
  window.addEventListener('pageshow', onPageShow, { signal: stop.signal });
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
