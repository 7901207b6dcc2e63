/** Whether the screen is too narrow to show the side bar beside the conversation. */
import { useSyncExternalStore } from 'react';

// The same width as in styles/sidebar.css.
const narrow = window.matchMedia('(max-width: 760px)');

export function useNarrow(): boolean {
  return useSyncExternalStore(subscribe, () => narrow.matches);
}

function subscribe(listener: () => void): () => void {
  narrow.addEventListener('change', listener);
  return () => narrow.removeEventListener('change', listener);
}
