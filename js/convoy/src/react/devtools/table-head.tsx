/** The titles of a table's columns. */
import type { ReactElement } from 'react';
import { styles } from './styles.js';

export function TableHead({ titles }: { titles: readonly string[] }): ReactElement {
  return (
    <thead>
      <tr>
        {titles.map((title) => (
          <th key={title} scope="col" style={styles.head}>
            {title}
          </th>
        ))}
      </tr>
    </thead>
  );
}
