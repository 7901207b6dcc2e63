// A TCP proxy between a server and Postgres that counts statements and round trips: it
// parses the messages of Postgres' protocol and forwards all bytes unchanged.
//
// Statements are counted by Postgres' completion messages, so that several statements in
// one message count separately. A round trip begins with a request that is sent while no
// response is pending.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class CountingProxy {
  #server;
  #sockets = new Set();
  #url;
  #statements = 0;
  #roundTrips = 0;

  /** @param {string} databaseUrl without TLS */
  static async start(databaseUrl) {
    const proxy = new CountingProxy();
    const { hostname: host, port } = new URL(databaseUrl);
    proxy.#server = createServer({ noDelay: true }, (client) =>
      proxy.#forward(client, { host, port: Number(port || 5432) }),
    );
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    const url = new URL(databaseUrl);
    url.host = `127.0.0.1:${proxy.#server.address().port}`;
    proxy.#url = url.href;
    return proxy;
  }

  /** The URL of the database through this proxy. */
  get url() {
    return this.#url;
  }

  /** The counts since the start. */
  counts() {
    return { statements: this.#statements, roundTrips: this.#roundTrips };
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #forward(client, target) {
    const server = connect({ ...target, noDelay: true });
    let unanswered = 0;
    const readRequests = messageReader('untyped first', (type) => {
      if (type !== QUERY && type !== SYNC && type !== START) return;
      if (unanswered === 0) this.#roundTrips += 1;
      unanswered += 1;
    });
    const readResponses = messageReader('all typed', (type) => {
      if (type === READY) unanswered -= 1;
      if (type === COMPLETE || type === FAILED || type === EMPTY) this.#statements += 1;
    });
    for (const [from, to, read] of [
      [client, server, readRequests],
      [server, client, readResponses],
    ]) {
      this.#sockets.add(from);
      from.on('data', (chunk) => {
        read(chunk);
        to.write(chunk);
      });
      // When one end closes, the other is closed too; errors are reported by the ends.
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
 * Returns a function that takes the bytes of one direction, in chunks of any size, and calls
 * `onMessage` for each message when its header is complete.
 *
 * @param {'untyped first' | 'all typed'} kind
 * @param {(type: number) => void} onMessage
 */
function messageReader(kind, onMessage) {
  let typed = kind === 'all typed';
  let body = 0;
  let headerBytes = 0;
  const header = Buffer.alloc(5);
  return (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      if (body > 0) {
        const skipped = Math.min(body, chunk.length - at);
        body -= skipped;
        at += skipped;
        continue;
      }
      header[headerBytes] = chunk[at];
      headerBytes += 1;
      at += 1;
      if (headerBytes < (typed ? 5 : 4)) continue;
      // The length includes its own four bytes.
      body = header.readUInt32BE(typed ? 1 : 0) - 4;
      onMessage(typed ? header[0] : START);
      typed = true;
      headerBytes = 0;
    }
  };
}
