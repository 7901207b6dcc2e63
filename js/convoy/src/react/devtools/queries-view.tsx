/** The queries of a client, and all about the selected one. */
import { type ReactElement, useState } from 'react';
import type { LoggedEvent } from './event-log.js';
import { EventsView } from './events-view.js';
import { previewOf, sizeOf, timeOf } from './format.js';
import { type InspectedQuery, keyOf } from './inspect.js';
import { colors, dot, styles, type Tone } from './styles.js';
import { TableHead } from './table-head.js';

interface QueriesViewProps {
  readonly queries: readonly InspectedQuery[];
  readonly events: readonly LoggedEvent[];
}

export function QueriesView({ queries, events }: QueriesViewProps): ReactElement {
  const [selectedKey, setSelectedKey] = useState<string | null>(null);
  const selected = queries.find(({ key }) => key === selectedKey);
  if (queries.length === 0) return <p style={styles.empty}>No component uses a query.</p>;
  return (
    <div style={styles.body}>
      <div style={styles.list}>
        <table style={styles.table}>
          <TableHead titles={['Query', 'State', 'Listeners', 'Size', 'Confirmed']} />
          <tbody>
            {queries.map((query) => (
              <tr key={query.key} style={query === selected ? { background: colors.selected } : {}}>
                <td style={styles.cell}>
                  <button
                    type="button"
                    style={styles.rowButton}
                    aria-pressed={query === selected}
                    onClick={() => setSelectedKey(query === selected ? null : query.key)}
                  >
                    <b>{query.name}</b> {query.args !== '{}' && <span style={styles.muted}>{query.args}</span>}
                  </button>
                </td>
                <td style={styles.cell} title={query.reason ?? undefined}>
                  <span style={dot(toneOf(query))} /> {stateOf(query)}
                </td>
                <td style={styles.number}>{query.listeners}</td>
                <td style={styles.number}>{sizeOf(query.size)}</td>
                <td style={styles.number}>{timeOf(query.updatedAt)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {selected && (
        <QueryDetails query={selected} events={events.filter(({ queries }) => queries.includes(keyOf(selected)))} />
      )}
    </div>
  );
}

function QueryDetails({ query, events }: { query: InspectedQuery; events: readonly LoggedEvent[] }): ReactElement {
  const { snapshot, reason, hash } = query;
  return (
    <section style={styles.details} aria-label={query.key}>
      <div style={styles.code}>
        <b>{query.name}</b> <span style={styles.muted}>{query.args}</span>
      </div>
      {reason !== null && <p style={styles.reason}>{reason}</p>}
      <div style={styles.muted}>
        {query.liveness} · {snapshot.status} · connection {snapshot.connectionState}
        {hash !== '' && ` · hash ${hash}`}
      </div>
      <h3 style={styles.title}>Displayed result</h3>
      <pre style={styles.data}>{snapshot.data === null ? 'none' : previewOf(snapshot.data)}</pre>
      <h3 style={styles.title}>Received for it</h3>
      <EventsView events={events} />
    </section>
  );
}

function stateOf({ snapshot, isOptimistic }: InspectedQuery): string {
  if (snapshot.status !== 'success') return snapshot.status;
  if (snapshot.isStale) return 'stale';
  return isOptimistic ? 'optimistic' : 'current';
}

function toneOf({ snapshot, reason }: InspectedQuery): Tone {
  if (snapshot.status === 'error') return 'bad';
  if (snapshot.status === 'pending' || snapshot.isStale) return 'waiting';
  return reason === null ? 'good' : 'waiting';
}
