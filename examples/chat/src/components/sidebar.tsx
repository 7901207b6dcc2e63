/** The channels, the people present, and the user. On a narrow screen it is a drawer. */
import { useEffect, useRef } from 'react';
import type { Me } from '../identity';
import type { Channel, Person } from '../people';
import { addressOf } from '../route';
import { useNarrow } from '../screen';
import { Connection } from './connection';
import { Mark } from './mark';
import { Monogram } from './monogram';
import { NewChannel } from './new-channel';

interface Props {
  readonly me: Me;
  readonly channels: readonly Channel[];
  readonly people: readonly Person[];
  readonly current: Channel | undefined;
  readonly isLoading: boolean;
  readonly isDrawerOpen: boolean;
  readonly onShut: () => void;
  readonly onLeave: () => void;
}

export function Sidebar({ me, channels, people, current, isLoading, isDrawerOpen, onShut, onLeave }: Props) {
  const isHidden = useNarrow() && !isDrawerOpen;
  const shut = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!isDrawerOpen) return;
    shut.current?.focus();
    const onKey = (event: KeyboardEvent) => event.key === 'Escape' && onShut();
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, [isDrawerOpen, onShut]);

  return (
    <>
      <aside className="sidebar" id="sidebar" inert={isHidden}>
        <header className="brand">
          <Mark />
          <span>Convoy chat</span>
          <button ref={shut} type="button" className="drawer-shut" aria-label="Close the menu" onClick={onShut}>
            ×
          </button>
        </header>

        <nav aria-labelledby="channels-title" className="sidebar-part">
          <h2 id="channels-title">Channels</h2>
          <ul data-testid="channels" aria-busy={isLoading}>
            {channels.map((channel) => (
              <li key={channel.id}>
                <a
                  href={addressOf(channel.name)}
                  className="channel"
                  aria-current={channel.id === current?.id ? 'page' : undefined}
                  onClick={onShut}
                >
                  <span className="channel-name">{channel.name}</span>
                  <Headcount count={people.filter(({ channelId }) => channelId === channel.id).length} />
                </a>
              </li>
            ))}
          </ul>
          <NewChannel onCreated={onShut} />
        </nav>

        <section aria-labelledby="people-title" className="sidebar-part">
          <h2 id="people-title">Here now</h2>
          <ul data-testid="people">
            {people.map((person) => (
              <li key={person.name} className="person">
                <Monogram name={person.name} />
                <span className="person-name">{person.name}</span>
                {person.name === me.name && <span className="tag">you</span>}
              </li>
            ))}
          </ul>
        </section>

        <footer className="sidebar-foot">
          <Connection />
          <button type="button" className="quiet" onClick={onLeave}>
            Change name
          </button>
        </footer>
      </aside>
      <div className="scrim" onClick={onShut} aria-hidden="true" />
    </>
  );
}

function Headcount({ count }: { readonly count: number }) {
  if (count === 0) return null;
  return (
    <span className="headcount" title={count === 1 ? '1 person is here' : `${count} people are here`}>
      {count}
    </span>
  );
}
