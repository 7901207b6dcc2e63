// Counts what goes between a server and Postgres: a TCP proxy that reads the
// frames of Postgres' protocol and passes everything on as it came.
//
// Statements are counted by their ends, as Postgres tells them, so that several
// in one message count as several. A round trip is a time something was sent
// while everything sent before had been answered.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Wire {
  #proxy;
  #sockets = new Set();
  #url;
  #statements = 0;
  #roundTrips = 0;

  /** @param {string} databaseUrl without TLS */
  static async start(databaseUrl) {
    const wire = new Wire();
    const { hostname: host, port } = new URL(databaseUrl);
    wire.#proxy = createServer({ noDelay: true }, (client) => wire.#pass(client, { host, port: Number(port || 5432) }));
    wire.#proxy.listen(0, '127.0.0.1');
    await once(wire.#proxy, 'listening');
    const through = new URL(databaseUrl);
    through.host = `127.0.0.1:${wire.#proxy.address().port}`;
    wire.#url = through.href;
    return wire;
  }

  /** The database through this wire. */
  get url() {
    return this.#url;
  }

  /** Since the start. */
  counts() {
    return { statements: this.#statements, roundTrips: this.#roundTrips };
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    this.#proxy.close();
    await once(this.#proxy, 'close');
  }

  #pass(client, target) {
    const server = connect({ ...target, noDelay: true });
    let unanswered = 0;
    const asked = frames('untyped first', (type) => {
      if (type !== QUERY && type !== SYNC && type !== START) return;
      if (unanswered === 0) this.#roundTrips += 1;
      unanswered += 1;
    });
    const answered = frames('all typed', (type) => {
      if (type === READY) unanswered -= 1;
      if (type === COMPLETE || type === FAILED || type === EMPTY) this.#statements += 1;
    });
    for (const [from, to, read] of [
      [client, server, asked],
      [server, client, answered],
    ]) {
      this.#sockets.add(from);
      from.on('data', (chunk) => {
        read(chunk);
        to.write(chunk);
      });
      // Either end going ends both; whose fault it was, the ends know.
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }
}

const [QUERY, SYNC, READY, COMPLETE, FAILED, EMPTY] = Buffer.from('QSZCEI');
/** The first message of a connection has no type. */
const START = 0;

/**
 * A function that takes the bytes of one direction, in any pieces, and tells of
 * each message when its head has come.
 *
 * @param {'untyped first' | 'all typed'} kind
 * @param {(type: number) => void} onMessage
 */
function frames(kind, onMessage) {
  let typed = kind === 'all typed';
  let body = 0;
  let headBytes = 0;
  const head = Buffer.alloc(5);
  return (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      if (body > 0) {
        const here = Math.min(body, chunk.length - at);
        body -= here;
        at += here;
        continue;
      }
      head[headBytes] = chunk[at];
      headBytes += 1;
      at += 1;
      if (headBytes < (typed ? 5 : 4)) continue;
      // The length counts itself.
      body = head.readUInt32BE(typed ? 1 : 0) - 4;
      onMessage(typed ? head[0] : START);
      typed = true;
      headBytes = 0;
    }
  };
}
