/** What the client has received while the panel was open. */
import type { ReactElement } from 'react';
import type { LoggedEvent } from './event-log.js';
import { sizeOf, timeOf } from './format.js';
import { colors, styles } from './styles.js';
import { TableHead } from './table-head.js';

export function EventsView({ events }: { events: readonly LoggedEvent[] }): ReactElement {
  if (events.length === 0) return <p style={styles.empty}>Nothing was received while this panel was open.</p>;
  return (
    <table style={styles.table}>
      <TableHead titles={['Time', 'Frame', 'Message', 'About', 'Size']} />
      <tbody>
        {events.map(({ id, at, frame, kind, text, size }) => (
          <tr key={id} style={frame % 2 === 0 ? { background: colors.raised } : {}}>
            <td style={styles.number}>{timeOf(at)}</td>
            <td style={styles.number}>{frame}</td>
            <td style={styles.cell}>{kind}</td>
            <td style={{ ...styles.cell, ...styles.code, width: '100%' }}>{text}</td>
            <td style={styles.number}>{sizeOf(size)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
