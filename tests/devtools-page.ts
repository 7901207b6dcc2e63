/** The page of `devtools.browser.test.ts`: a list of notes with a form, and the devtools. */
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { ConvoyProvider, useMutation, useQuery } from '@avvos/convoy/react';
import { ConvoyDevtools } from '@avvos/convoy/react/devtools';
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';

interface Note {
  readonly id: string;
  readonly text: string;
}

const list = makeQueryRef<{ room: string }, Note[]>('notes.list');
const add = makeMutationRef<{ room: string; text: string }, unknown>('notes.add');
const ROOM = { room: 'hall' };

function Notes() {
  const { data } = useQuery(list, ROOM);
  const send = useMutation(add, {
    optimistic: (store, { text }) => store.set(list, ROOM, (all) => [...all, { id: store.tempId('notes'), text }]),
  });
  return createElement(
    'main',
    { style: { font: '16px system-ui', padding: 24 } },
    createElement('h1', null, 'Notes'),
    createElement('ul', null, ...(data ?? []).map(({ text }) => createElement('li', { key: text }, text))),
    createElement('button', { type: 'button', onClick: () => void send({ ...ROOM, text: 'from the page' }) }, 'Send'),
  );
}

const root = createRoot(document.body.appendChild(document.createElement('div')));
root.render(
  createElement(ConvoyProvider, { client: createConvoyClient() }, createElement(Notes), createElement(ConvoyDevtools)),
);
