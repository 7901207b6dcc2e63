/** The page of `bindings.browser.test.ts` in React with TanStack Query. */
import { mutationOptions, queryOptions } from '@avvos/convoy/tanstack';
import { QueryClient, QueryClientProvider, useMutation, useSuspenseQuery } from '@tanstack/react-query';
import { createElement as h, Suspense, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { api, append, ROOMS, root } from './api.js';

function Messages({ room }: { room: string }) {
  const { data: messages } = useSuspenseQuery(queryOptions(api.messages.list, { room }));
  return h(
    'ul',
    null,
    messages.map(({ id, body }) => h('li', { key: id }, body)),
  );
}

function Room() {
  const [room, setRoom] = useState('hall');
  const [body, setBody] = useState('');
  const { mutate: send } = useMutation(mutationOptions(api.messages.send, append));
  return h(
    'section',
    null,
    ROOMS.map((name) => h('button', { type: 'button', key: name, onClick: () => setRoom(name) }, name)),
    h('input', { value: body, onChange: ({ target }) => setBody(target.value) }),
    h('button', { type: 'button', onClick: () => send({ room, body }) }, 'Send'),
    h('h1', null, room),
    h(Suspense, null, h(Messages, { room })),
  );
}

function App() {
  const [isShown, setShown] = useState(true);
  return [
    h('button', { type: 'button', key: 'leave', onClick: () => setShown(false) }, 'Leave'),
    isShown && h(Room, { key: 'room' }),
  ];
}

createRoot(root()).render(h(QueryClientProvider, { client: new QueryClient() }, h(App)));
