// Readers of live queries on bare sockets: active ones, slow ones, and ones that come back
// again and again. Readers of one channel have the same query.
import { once } from 'node:events';
import { connect } from 'node:net';
import { CHANNELS, channelName } from './database.mjs';

/** How often a slow reader reads one byte. */
const SLOW_MS = 1_000;
/** The time between two connections of a reader that comes back. */
const RETURN_MS = 10_000;
/** How much of its stream an active reader keeps, to find a text in it. */
const KEPT = 64_000;
/** How many connect at once. */
const BATCH = 50;

/** Connects, subscribes to a channel, and waits for the first bytes. The socket is paused. */
async function subscribe(address, channel) {
  const [host, port] = address.split(':');
  const socket = connect({ host, port: Number(port) });
  await once(socket, 'connect');
  const body = JSON.stringify({ protocol: 1, queries: [{ id: 0, name: 'messages.newest', args: { channel } }] });
  socket.write(
    `POST /api/live HTTP/1.1\r\nhost: ${address}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  await once(socket, 'readable');
  return socket;
}

/** One reader for each of these channels, a few at a time. */
async function all(count, open) {
  const opened = [];
  for (let from = 0; from < count; from += BATCH) {
    const some = Array.from({ length: Math.min(BATCH, count - from) }, (_, n) =>
      open(channelName((from + n) % CHANNELS)),
    );
    opened.push(...(await Promise.all(some)));
  }
  return opened;
}

/** Reads all it receives, and tells when a text has come. */
class ActiveReader {
  #socket;
  #kept = '';
  #onData = () => {};

  constructor(socket) {
    this.#socket = socket;
    socket.setEncoding('utf8').on('data', (text) => {
      this.#kept = (this.#kept + text).slice(-KEPT);
      this.#onData();
    });
  }

  async until(text) {
    while (!this.#kept.includes(text)) {
      await new Promise((resolve) => {
        this.#onData = resolve;
      });
    }
  }

  close() {
    this.#socket.destroy();
  }
}

/** An active reader of each channel, by its name. */
export async function openActive(address) {
  const readers = new Map();
  await all(CHANNELS, async (channel) => readers.set(channel, new ActiveReader(await subscribe(address, channel))));
  return {
    of: (channel) => readers.get(channel),
    close() {
      for (const reader of readers.values()) reader.close();
    },
  };
}

/** Readers that take one byte a second, while their channels change. */
export async function openSlow(address, count) {
  const sockets = await all(count, (channel) => subscribe(address, channel));
  // Its end is no error of the benchmark: the server may close one that is too slow.
  for (const socket of sockets) socket.on('error', () => socket.destroy());
  const reading = setInterval(() => {
    for (const socket of sockets) socket.read(1);
  }, SLOW_MS);
  return {
    close() {
      clearInterval(reading);
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Readers that disconnect after their first result, and connect again, evenly over time. */
export async function openReturning(address, count) {
  let isOver = false;
  const sockets = await all(count, (channel) => subscribe(address, channel));
  sockets.forEach(async (first, n) => {
    let socket = first;
    await new Promise((resolve) => setTimeout(resolve, (n / count) * RETURN_MS).unref());
    while (!isOver) {
      socket.destroy();
      // A server that refuses is asked again after the pause.
      socket = await subscribe(address, channelName(n % CHANNELS)).catch(() => socket);
      sockets[n] = socket;
      await new Promise((resolve) => setTimeout(resolve, RETURN_MS).unref());
    }
  });
  return {
    close() {
      isOver = true;
      for (const socket of sockets) socket.destroy();
    },
  };
}
