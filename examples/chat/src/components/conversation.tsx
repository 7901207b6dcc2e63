/** One channel: its header, its messages, and the message field. */
import { useQuery } from '@avvos/convoy/react';
import type { Ref } from 'react';
import { api } from '../../convoy/_generated/api';
import type { Me } from '../identity';
import type { Channel, Person } from '../people';
import { Composer } from './composer';
import { MessageList } from './message-list';
import { Monogram } from './monogram';
import { Notice } from './notice';

interface Props {
  readonly me: Me;
  readonly channel: Channel;
  /** The people who have this channel open. */
  readonly people: readonly Person[];
  readonly isDrawerOpen: boolean;
  readonly drawerButton: Ref<HTMLButtonElement>;
  readonly onOpenDrawer: () => void;
}

export function Conversation({ me, channel, people, isDrawerOpen, drawerButton, onOpenDrawer }: Props) {
  const messages = useQuery(api.messages.list, { channelId: channel.id });
  return (
    <>
      <header className="stage-head">
        <button
          ref={drawerButton}
          type="button"
          className="drawer-open"
          aria-label="Channels and people"
          aria-controls="sidebar"
          aria-expanded={isDrawerOpen}
          onClick={onOpenDrawer}
        >
          <span aria-hidden="true" />
        </button>
        <h1>
          <span className="stage-hash" aria-hidden="true">
            #
          </span>
          {channel.name}
        </h1>
        <Gathering people={people} />
      </header>
      {messages.isReconnecting && (
        <p className="reconnecting" role="status">
          The connection is lost. Trying again…
        </p>
      )}
      {messages.status === 'error' && messages.data === null ? (
        <Notice title="The messages could not be loaded" kind="problem">
          <p>{messages.error.message}</p>
          {messages.error.errorId && <p className="fine">Error {messages.error.errorId}</p>}
          <button type="button" className="primary" onClick={messages.refetch}>
            Try again
          </button>
        </Notice>
      ) : (
        <MessageList channel={channel} messages={messages.data} me={me} />
      )}
      <Composer channel={channel} me={me} />
    </>
  );
}

const MAX_MONOGRAMS = 5;

/** The people in the channel, as a row of monograms. */
function Gathering({ people }: { readonly people: readonly Person[] }) {
  if (people.length === 0) return null;
  const names = people.map(({ name }) => name).join(', ');
  return (
    <div className="gathering" role="img" aria-label={`In this channel: ${names}`} title={names}>
      {people.slice(0, MAX_MONOGRAMS).map(({ name }) => (
        <Monogram key={name} name={name} />
      ))}
      {people.length > MAX_MONOGRAMS && <span className="gathering-more">+{people.length - MAX_MONOGRAMS}</span>}
    </div>
  );
}
