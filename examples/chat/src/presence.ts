/** Telling the others that one is here. */
import { useConvoy } from '@avvos/convoy/react';
import { useEffect } from 'react';
import { api } from '../convoy/_generated/api';
import type { Me } from './identity';
import type { Channel } from './people';

const HEARTBEAT_MS = 10_000;

/** Says “I am here” while the component is shown, and “I am gone” when the page closes. */
export function useHeartbeat(me: Me, channelId: Channel['id'] | undefined): void {
  const client = useConvoy();
  const { session, name } = me;
  useEffect(() => {
    let failed = false;
    const beat = async () => {
      // Without a network the browser would complain of every beat.
      if (!navigator.onLine) return;
      try {
        await client.mutation(api.presence.heartbeat, { session, name, ...(channelId ? { channelId } : {}) });
        failed = false;
      } catch (error) {
        // The connection light says so already, and the next beat tries again.
        if (!failed) console.warn('The heartbeat did not arrive', error);
        failed = true;
      }
    };
    const seen = () => document.visibilityState === 'visible' && void beat();
    const gone = () => {
      // The page is closing: nobody is left to be told of a failure, and the others notice within `HERE_MS`.
      client.mutation(api.presence.leave, { session }, { keepalive: true }).catch(() => {});
    };
    void beat();
    const timer = setInterval(beat, HEARTBEAT_MS);
    document.addEventListener('visibilitychange', seen);
    window.addEventListener('pageshow', seen);
    window.addEventListener('pagehide', gone);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', seen);
      window.removeEventListener('pageshow', seen);
      window.removeEventListener('pagehide', gone);
    };
  }, [client, session, name, channelId]);
}
