/** The client of the generated project: 40 files of React components, which use 200 of its functions. */
import { TABLES } from './tables.mjs';

const COMPONENTS = 40;

/** The files: name → text. */
export function componentFiles() {
  return new Map(TABLES.slice(0, COMPONENTS).map((table, index) => [`View${index + 1}`, componentFile(table, index)]));
}

function componentFile({ name, values, shown }, index) {
  const feature = `feature${(index % 40) + 1}`;
  return `import type { ResultOfRef } from '@avvos/convoy/client';
import { skipToken, useAction, useMutation, usePaginatedQuery, useQuery } from '@avvos/convoy/react';
import { api } from '../convoy/_generated/api';

type Row = ResultOfRef<typeof api.${name}.list>[number];

export interface ViewProps {
  readonly ownerId: Row['ownerId'];
  readonly id: Row['id'] | null;
}

function describe(row: Row): string {
  return \`\${row.title} (\${row.status}) \${${shown}}\`;
}

export function View${index + 1}({ ownerId, id }: ViewProps) {
  const list = useQuery(api.${name}.list, { ownerId, status: 'active' });
  const { results, status, loadMore } = usePaginatedQuery(api.${name}.page, { status: 'draft' }, { initialNumItems: 20 });
  const one = useQuery(api.${name}.get, id === null ? skipToken : { id });
  const create = useMutation(api.${name}.create);
  const publish = useAction(api.${feature}.publish);
  if (list.status === 'error') return <p>{list.error.message}</p>;
  return (
    <main>
      <ul>{list.data?.map((row) => <li key={row.id}>{describe(row)}</li>)}</ul>
      <ol>{results.map((row) => <li key={row.id}>{row.isRecent ? row.title : row.tags.join()}</li>)}</ol>
      {one.data?.found === true && <p>{one.data.owner?.title} {one.data.at.slice(0, 10)}</p>}
      <button disabled={status !== 'CanLoadMore'} onClick={() => loadMore(20)}>More</button>
      <button onClick={() => void create({ ownerId, title: 'New', ${values} })}>New</button>
      <button onClick={() => void publish({ id: '${name}:1' }).then((result) => result?.title)}>Publish</button>
    </main>
  );
}
`;
}
