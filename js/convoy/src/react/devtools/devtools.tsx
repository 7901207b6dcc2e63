/** The panel: a button that opens it, its tabs, and the state of the connection. Loaded in development only. */
import { type KeyboardEvent, type ReactElement, useEffect, useRef, useState } from 'react';
import { type ClientParts, partsOf } from '../../client/inspection.js';
import { useConvoy } from '../context.js';
import { useConnectionState } from '../use-connection-state.js';
import { EventsView } from './events-view.js';
import type { ConvoyDevtoolsProps } from './index.js';
import type { InspectedConnection } from './inspect.js';
import { MutationsView } from './mutations-view.js';
import { QueriesView } from './queries-view.js';
import { dot, styles, type Tone, tab } from './styles.js';
import { useInspection } from './use-inspection.js';

const TABS = ['Queries', 'Mutations', 'Events'] as const;
const TONES: Readonly<Record<string, Tone>> = { open: 'good', connecting: 'waiting' };

export default function Devtools({ client: override, initiallyOpen = false }: ConvoyDevtoolsProps): ReactElement {
  const client = useConvoy(override);
  const connectionState = useConnectionState({ client });
  const [isOpen, setOpen] = useState(initiallyOpen);
  const launcher = useRef<HTMLButtonElement>(null);
  const wasOpen = useRef(isOpen);
  useEffect(() => {
    if (wasOpen.current && !isOpen) launcher.current?.focus();
    wasOpen.current = isOpen;
  }, [isOpen]);
  const parts = partsOf.get(client);
  if (isOpen && parts) return <Panel parts={parts} close={() => setOpen(false)} />;
  const title = parts ? 'Open the Convoy devtools' : 'The client of this page is not one of createConvoyClient';
  return (
    <button
      ref={launcher}
      type="button"
      style={styles.launcher}
      aria-label={title}
      title={title}
      disabled={!parts}
      onClick={() => setOpen(true)}
    >
      <span style={dot(TONES[connectionState] ?? 'muted')} /> Convoy
    </button>
  );
}

function Panel({ parts, close }: { parts: ClientParts; close: () => void }): ReactElement {
  const { queries, mutations, connection, log, refresh } = useInspection(parts);
  const [selected, select] = useState<(typeof TABS)[number]>('Queries');
  const tabs = useRef<HTMLDivElement>(null);
  useEffect(() => tabs.current?.querySelector<HTMLElement>('[aria-selected=true]')?.focus(), []);
  const counts = { Queries: queries.length, Mutations: mutations.length, Events: log.events.length };

  /** Arrow keys move between tabs, as in any list of tabs. */
  const onTabKey = ({ key }: KeyboardEvent) => {
    const step = key === 'ArrowRight' ? 1 : key === 'ArrowLeft' ? TABS.length - 1 : 0;
    if (step === 0) return;
    const index = (TABS.indexOf(selected) + step) % TABS.length;
    select(TABS[index] ?? 'Queries');
    tabs.current?.querySelectorAll<HTMLElement>('[role=tab]')[index]?.focus();
  };

  return (
    <section
      style={styles.panel}
      aria-label="Convoy devtools"
      onKeyDown={({ key }: KeyboardEvent) => key === 'Escape' && close()}
    >
      <header style={styles.header}>
        <b>Convoy</b>
        <div ref={tabs} role="tablist" aria-label="Views" onKeyDown={onTabKey}>
          {TABS.map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              aria-selected={name === selected}
              aria-controls="convoy-devtools-view"
              tabIndex={name === selected ? 0 : -1}
              style={tab(name === selected)}
              onClick={() => select(name)}
            >
              {name} {counts[name]}
            </button>
          ))}
        </div>
        <ConnectionState {...connection} />
        <span style={{ flex: 1 }} />
        {selected === 'Events' && (
          <button
            type="button"
            style={styles.button}
            onClick={() => {
              log.clear();
              refresh();
            }}
          >
            Clear
          </button>
        )}
        <button type="button" style={styles.button} aria-label="Close the Convoy devtools" onClick={close}>
          ✕
        </button>
      </header>
      <div id="convoy-devtools-view" role="tabpanel" aria-label={selected} style={styles.view}>
        {selected === 'Queries' && <QueriesView queries={queries} events={log.events} />}
        {selected === 'Mutations' && <MutationsView mutations={mutations} />}
        {selected === 'Events' && <EventsView events={log.events} />}
      </div>
    </section>
  );
}

const CARRIERS: Readonly<Record<string, string>> = { stream: 'stream', socket: 'WebSocket', polling: 'polling' };

function ConnectionState({ kind, state, phase, attempts, position }: InspectedConnection): ReactElement {
  const details = [
    kind === null ? '' : `over ${CARRIERS[kind]}`,
    phase !== '' && phase !== state ? phase : '',
    attempts > 0 ? `attempt ${attempts}` : '',
    position === null ? '' : `position ${position}`,
  ];
  return (
    <span role="status" style={{ alignItems: 'center', display: 'flex', gap: 6 }}>
      <span style={dot(TONES[state] ?? 'muted')} />
      {state} <span style={styles.muted}>{details.filter((detail) => detail !== '').join(' · ')}</span>
    </span>
  );
}
