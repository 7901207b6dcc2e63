/**
 * What a browser page tells about whether anyone looks at it and whether there is a network. In a process without a
 * page (Node, a worker) nothing is ever told.
 */

export interface PageListener {
  /** There is no network: nothing arrives over what is open, whatever it looks like. */
  offline(): void;
  /** The network is back, perhaps another one than before. */
  online(): void;
  visible(): void;
  hidden(): void;
}

/** Reports to `listener` until the returned function is called. */
export function listenToPage(listener: PageListener): () => void {
  if (typeof window === 'undefined' || typeof document === 'undefined') return () => {};
  const seen = () => (document.visibilityState === 'hidden' ? listener.hidden() : listener.visible());
  const stop = new AbortController();
  window.addEventListener('offline', () => listener.offline(), { signal: stop.signal });
  window.addEventListener('online', () => listener.online(), { signal: stop.signal });
  document.addEventListener('visibilitychange', seen, { signal: stop.signal });
  // A page restored from the back-forward cache had its connections cut without a word.
  window.addEventListener('pageshow', (event) => event.persisted && listener.online(), { signal: stop.signal });
  return () => stop.abort();
}

/** The browser says that there is no network. It is mistaken at times, mostly about servers of the same machine. */
export function isOffline(): boolean {
  return typeof navigator !== 'undefined' && navigator.onLine === false;
}

/** There is a page, and nobody looks at it. */
export function isPageHidden(): boolean {
  return typeof document !== 'undefined' && document.visibilityState === 'hidden';
}
