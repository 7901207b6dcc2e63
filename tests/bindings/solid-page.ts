/** The page of `bindings.browser.test.ts` in Solid. */
import { createConvoyClient } from '@avvos/convoy/client';
import { ConvoyProvider, useConnectionState, useMutation, useQuery } from '@avvos/convoy/solid';
import { createComponent, createMemo, createSignal, type JSX, mapArray } from 'solid-js';
import h from 'solid-js/h';
import { render } from 'solid-js/web';
import { api, append, ROOMS, root } from './api.js';

function Room() {
  const [room, setRoom] = createSignal('hall');
  const [body, setBody] = createSignal('');
  const messages = useQuery(api.messages.list, () => ({ room: room() }));
  const send = useMutation(api.messages.send, append);
  const connection = useConnectionState();
  return h(
    'section',
    h('i', connection),
    ROOMS.map((name) => h('button', { onClick: () => setRoom(name) }, name)),
    h('input', { value: body, onInput: ({ target }: InputEvent) => setBody((target as HTMLInputElement).value) }),
    h('button', { onClick: () => void send({ room: room(), body: body() }) }, 'Send'),
    h('h1', room),
    h(
      'ul',
      mapArray(
        () => messages.data,
        ({ body }) => h('li', body)(),
      ),
    ),
  )();
}

function App() {
  const [isShown, setShown] = createSignal(true);
  return [
    h('button', { onClick: () => setShown(false) }, 'Leave')(),
    createMemo(() => isShown() && createComponent(Room, {})) as unknown as JSX.Element,
  ];
}

const client = createConvoyClient();
render(
  () =>
    createComponent(ConvoyProvider, {
      client,
      get children() {
        return createComponent(App, {});
      },
    }),
  root(),
);
