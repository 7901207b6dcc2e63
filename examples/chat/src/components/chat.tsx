/** The page: the side bar, and the channel in the URL. */
import { isConvoyError } from '@avvos/convoy/client';
import { useConvoy, useMutation, useQuery } from '@avvos/convoy/react';
import { useCallback, useEffect, useRef, useState } from 'react';
import { api } from '../../convoy/_generated/api';
import type { Me } from '../identity';
import { peopleHere } from '../people';
import { useHeartbeat } from '../presence';
import { addressOf, useChannelInAddress } from '../route';
import { Conversation } from './conversation';
import { Notice } from './notice';
import { Sidebar } from './sidebar';

interface Props {
  readonly me: Me;
  readonly onLeave: () => void;
}

const FIRST_CHANNEL = 'general';

export function Chat({ me, onLeave }: Props) {
  const client = useConvoy();
  const lobby = useQuery(api.channels.lobby);
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  const drawerButton = useRef<HTMLButtonElement>(null);
  const shutDrawer = useCallback(() => {
    setDrawerOpen(false);
    drawerButton.current?.focus();
  }, []);
  const channelName = useChannelInAddress() ?? FIRST_CHANNEL;
  const channels = lobby.data?.channels ?? [];
  const people = peopleHere(lobby.data?.people ?? []);
  const channel = channels.find(({ name }) => name === channelName);
  useHeartbeat(me, channel?.id);
  useFirstChannel(lobby.data !== null && channels.length === 0);

  const leave = () => {
    // Best effort: other clients also notice that the heartbeat stops.
    client.mutation(api.presence.leave, { session: me.session }).catch(() => {});
    onLeave();
  };

  return (
    <div className="chat" data-drawer={isDrawerOpen ? 'open' : 'shut'}>
      <Sidebar
        me={me}
        channels={channels}
        people={people}
        current={channel}
        isLoading={lobby.isLoading}
        isDrawerOpen={isDrawerOpen}
        onShut={shutDrawer}
        onLeave={leave}
      />
      <main className="stage">
        {channel ? (
          <Conversation
            key={channel.id}
            me={me}
            channel={channel}
            people={people.filter(({ channelId }) => channelId === channel.id)}
            isDrawerOpen={isDrawerOpen}
            drawerButton={drawerButton}
            onOpenDrawer={() => setDrawerOpen(true)}
          />
        ) : (
          <NoConversation lobby={lobby} channelName={channelName} />
        )}
      </main>
    </div>
  );
}

/** The main area where there is no conversation to show. */
function NoConversation({
  lobby,
  channelName,
}: {
  readonly lobby: ReturnType<typeof useLobby>;
  readonly channelName: string;
}) {
  if (lobby.status === 'error') {
    return (
      <Notice title="The chat could not be loaded" kind="problem">
        <p>{lobby.error.message}</p>
        <button type="button" className="primary" onClick={lobby.refetch}>
          Try again
        </button>
      </Notice>
    );
  }
  if (lobby.data === null || lobby.data.channels.length === 0) {
    return <Notice title={lobby.isReconnecting ? 'Waiting for the server…' : 'Casting off…'} />;
  }
  return (
    <Notice title={`There is no channel called “${channelName}”`}>
      <p>
        Make it from the side bar, or go <a href={addressOf(lobby.data.channels[0]?.name ?? FIRST_CHANNEL)}>back</a>.
      </p>
    </Notice>
  );
}

function useLobby() {
  return useQuery(api.channels.lobby);
}

/** Creates the first channel of a new chat. */
function useFirstChannel(isMissing: boolean): void {
  const create = useMutation(api.channels.create);
  useEffect(() => {
    if (!isMissing) return;
    create({ name: FIRST_CHANNEL }).catch((error: unknown) => {
      // Two windows opened at once both try; the second one's `CONFLICT` means that the channel exists.
      if (!isConvoyError(error) || error.code !== 'CONFLICT') console.error(error);
    });
  }, [isMissing, create]);
}
