// Measures the bytes that a live session sends for one changed row of a long list.
import { isDeepStrictEqual } from 'node:util';
import { atMost } from '../targets.mjs';
import { CONVOY, session } from './contestants.mjs';
import { LIST } from './posts.mjs';
import { resultOf } from './watch.mjs';

export const delta = {
  name: 'live-delta',
  title: 'one changed row of a long list',

  async measure(bench, { edits }) {
    const server = await bench.startServer(CONVOY);
    const { path, body } = session([{ name: 'posts.all', args: { channel: LIST } }]);
    const stop = new AbortController();
    try {
      const response = await post(server, path, body, stop.signal);
      const events = eventsOf(response);
      let list;
      const whole = await until(events, ({ messages }) => {
        list = messages.find(({ type }) => type === 'result')?.data;
        return list !== undefined;
      });
      const sizes = [];
      let row;
      for (let edit = 0; edit < edits; edit += 1) {
        const edited = list[Math.floor((list.length * (edit + 0.5)) / edits)];
        const text = `edited ${edit} ${edited.body}`.slice(0, edited.body.length);
        await post(server, '/api/mutation/posts.edit', JSON.stringify({ id: edited.id, body: text }));
        const event = await until(events, ({ messages }) => messages.some(({ id }) => id === 0));
        for (const message of event.messages) list = applied(list, message);
        row = list.find(({ id }) => id === edited.id);
        sizes.push(event.bytes / Buffer.byteLength(JSON.stringify(row)));
      }
      const isCurrent = isDeepStrictEqual(list, await resultOf(server, 'posts.all', { channel: LIST }));
      const rowBytes = Buffer.byteLength(JSON.stringify(row));
      const what = `one row of ${rowBytes} bytes among ${list.length.toLocaleString('en-US')}`;
      return {
        watched: [],
        delta: { rows: list.length, rowBytes, wholeBytes: whole.bytes, ofRow: sizes },
        verdicts: [atMost(`${what}: bytes sent, relative to the row`, Math.max(...sizes), 2, '×')],
        broken: isCurrent ? [] : [`${what}: the list built from the frames differs from the result of a query`],
      };
    } finally {
      stop.abort();
    }
  },
};

async function post(server, path, body, signal) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`http://${server.address}${path}`, { method: 'POST', headers, body, signal });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

/** The list after the message is applied. */
function applied(list, message) {
  if (message.type === 'result') return message.data;
  if (message.type !== 'rows') return list;
  return message.rows.flatMap((step) => (Array.isArray(step) ? list.slice(step[0], step[0] + step[1]) : [step.row]));
}

/** The events of a session, with their messages and size in bytes. */
async function* eventsOf(response) {
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of response.body) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = text.slice(0, end + 2);
      text = text.slice(end + 2);
      const lines = event.split('\n').filter((line) => line.startsWith('data:'));
      const messages = lines.map((line) => JSON.parse(line.slice('data:'.length)));
      if (messages.length > 0) yield { bytes: Buffer.byteLength(event), messages };
    }
  }
}

async function until(events, matches) {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error('a live session ended unexpectedly');
    const failed = value.messages.find(({ type }) => type === 'error' || type === 'end');
    if (failed !== undefined) throw new Error(`a live session: ${JSON.stringify(failed)}`);
    if (matches(value)) return value;
  }
}
