import type { Preloaded } from '@avvos/convoy/client';
import { useMutation, usePreloadedQuery } from '@avvos/convoy/react';
import { api } from '../convoy/_generated/api';

/** What the page is rendered from, on the server and in the browser. */
export interface PageData {
  readonly tasks: Preloaded<typeof api.tasks.mine>;
}

export function App({ tasks: preloaded }: PageData) {
  const tasks = usePreloadedQuery(preloaded);
  const add = useMutation(api.tasks.add);
  return (
    <main>
      <h1>Tasks</h1>
      <form action={async (form) => void (await add({ text: String(form.get('text')) }))}>
        <input name="text" aria-label="Task" required maxLength={200} />
        <button type="submit">Add</button>
      </form>
      <ul>
        {tasks.map(({ id, text }) => (
          <li key={id}>{text}</li>
        ))}
      </ul>
    </main>
  );
}
