/** The mutations that have not ended, and the optimistic updates that are applied now. */
import type { ReactElement } from 'react';
import type { InspectedMutation } from './inspect.js';
import { dot, styles } from './styles.js';
import { TableHead } from './table-head.js';

export function MutationsView({ mutations }: { mutations: readonly InspectedMutation[] }): ReactElement {
  if (mutations.length === 0) return <p style={styles.empty}>No mutation is in progress.</p>;
  return (
    <table style={styles.table}>
      <TableHead titles={['Mutation', 'State', 'Its optimistic update changes']} />
      <tbody>
        {mutations.map(({ name, args, isPending, changes }, n) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: calls have no identity, and their rows no state
          <tr key={n}>
            <td style={{ ...styles.cell, ...styles.code }}>
              <b>{name}</b> <span style={styles.muted}>{args}</span>
            </td>
            <td style={styles.cell}>
              <span style={dot('waiting')} />{' '}
              {isPending ? 'not answered or not shown yet' : 'until the results have it'}
            </td>
            <td style={{ ...styles.cell, ...styles.code }}>{changesText(changes)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function changesText(changes: readonly string[] | null): string {
  if (changes === null) return 'has none';
  return changes.length === 0 ? 'nothing any more' : changes.join(', ');
}
