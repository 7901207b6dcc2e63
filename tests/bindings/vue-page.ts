/** The page of `bindings.browser.test.ts` in Vue. */
import { createConvoyClient } from '@avvos/convoy/client';
import { convoyPlugin, useConnectionState, useMutation, useQuery } from '@avvos/convoy/vue';
import { createApp, defineComponent, h, ref } from 'vue';
import { api, append, ROOMS, root } from './api.js';

const Room = defineComponent(() => {
  const room = ref('hall');
  const body = ref('');
  const { data: messages } = useQuery(api.messages.list, () => ({ room: room.value }));
  const send = useMutation(api.messages.send, append);
  const connection = useConnectionState();
  return () =>
    h('section', [
      h('i', connection.value),
      ROOMS.map((name) => h('button', { onClick: () => (room.value = name) }, name)),
      h('input', { value: body.value, onInput: (event: InputEvent) => (body.value = textIn(event)) }),
      h('button', { onClick: () => void send({ room: room.value, body: body.value }) }, 'Send'),
      h('h1', room.value),
      messages.value &&
        h(
          'ul',
          messages.value.map(({ id, body }) => h('li', { key: id }, body)),
        ),
    ]);
});

const textIn = ({ target }: Event) => (target as HTMLInputElement).value;

const App = defineComponent(() => {
  const isShown = ref(true);
  return () => [h('button', { onClick: () => (isShown.value = false) }, 'Leave'), isShown.value && h(Room)];
});

createApp(App).use(convoyPlugin(createConvoyClient())).mount(root());
