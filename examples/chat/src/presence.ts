/** Sends this tab's presence to the server. */
import { useConvoy } from '@avvos/convoy/react';
import { useEffect } from 'react';
import { api } from '../convoy/_generated/api';
import type { Me } from './identity';
import type { Channel } from './people';

const HEARTBEAT_MS = 10_000;

/** Sends heartbeats while the component is mounted, and `leave` when the page closes. */
export function useHeartbeat(me: Me, channelId: Channel['id'] | undefined): void {
  const client = useConvoy();
  const { session, name } = me;
  useEffect(() => {
    let failed = false;
    const beat = async () => {
      // Without a network the browser would log an error for every heartbeat.
      if (!navigator.onLine) return;
      try {
        await client.mutation(api.presence.heartbeat, { session, name, ...(channelId ? { channelId } : {}) });
        failed = false;
      } catch (error) {
        // One warning is enough: the connection state is on the page, and the next heartbeat retries.
        if (!failed) console.warn('The heartbeat failed', error);
        failed = true;
      }
    };
    const onVisible = () => document.visibilityState === 'visible' && void beat();
    const onPageHide = () => {
      // The page is closing, so a failure cannot be handled; other clients notice within `HERE_MS`.
      client.mutation(api.presence.leave, { session }, { keepalive: true }).catch(() => {});
    };
    void beat();
    const timer = setInterval(beat, HEARTBEAT_MS);
    document.addEventListener('visibilitychange', onVisible);
    window.addEventListener('pageshow', onVisible);
    window.addEventListener('pagehide', onPageHide);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', onVisible);
      window.removeEventListener('pageshow', onVisible);
      window.removeEventListener('pagehide', onPageHide);
    };
  }, [client, session, name, channelId]);
}
