/** The channel in the address (`#/general`), so that a link, a reload and the back button lead where one expects. */
import { useSyncExternalStore } from 'react';

export function useChannelInAddress(): string | null {
  return useSyncExternalStore(subscribe, read);
}

export function addressOf(channel: string): string {
  return `#/${encodeURIComponent(channel)}`;
}

function subscribe(listener: () => void): () => void {
  window.addEventListener('hashchange', listener);
  return () => window.removeEventListener('hashchange', listener);
}

function read(): string | null {
  const [, name] = /^#\/(.+)$/.exec(window.location.hash) ?? [];
  if (name === undefined) return null;
  try {
    return decodeURIComponent(name);
  } catch {
    // Someone typed a stray `%`; take the address as it is written.
    return name;
  }
}
