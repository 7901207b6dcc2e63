/** The channel in the URL's fragment (`#/general`), so that links, reloads and the back button work. */
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
    // An invalid escape, such as a lone `%`: use the text as it is.
    return name;
  }
}
