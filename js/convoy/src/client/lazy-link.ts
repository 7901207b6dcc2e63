/** A link of a kind that few pages need: its code is loaded when it is first opened. */
import { unavailable } from './endpoint.js';
import { endedByError, type LinkAttempt, type LinkListener, type OpenLink } from './link.js';

export function lazyLink(load: () => Promise<OpenLink>): OpenLink {
  return (attempt: LinkAttempt, listener: LinkListener) => {
    const { signal } = attempt;
    const link = load().then((open) => (signal.aborted ? null : open(attempt, listener)));
    link.catch((cause: unknown) => {
      // The next attempt loads it again.
      if (!signal.aborted)
        listener.ended(endedByError(unavailable('A part of the client could not be loaded.', cause)));
    });
    return { change: async (change) => (await link)?.change(change) };
  };
}
