/** A proxy in front of Postgres that records the text of each statement that a client executes, and may change it. */
import { once } from 'node:events';
import net from 'node:net';

export class RecordingProxy {
  /** The executed statements, in order. */
  readonly statements: string[] = [];
  readonly #server = net.createServer((client) => this.#forward(client));
  #target: URL;
  readonly #rewrite: Rewrite;
  readonly #sockets = new Set<net.Socket>();

  private constructor(databaseUrl: string, rewrite: Rewrite) {
    this.#target = new URL(databaseUrl);
    this.#rewrite = rewrite;
  }

  /** Starts a proxy for this database; `url` is the address for clients. Postgres gets each statement from `rewrite`. */
  static async start(databaseUrl: string, rewrite: Rewrite = (sql) => sql): Promise<RecordingProxy> {
    const proxy = new RecordingProxy(databaseUrl, rewrite);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    const url = new URL(this.#target);
    url.host = `127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
    return url.href;
  }

  /** Leads new connections to the server of this URL. */
  pointTo(databaseUrl: string): void {
    this.#target = new URL(databaseUrl);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #forward(client: net.Socket): void {
    const server = net.connect(Number(this.#target.port || 5432), this.#target.hostname);
    const reader = new FrontendReader(this.statements, this.#rewrite);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
    client.on('data', (data) => void server.write(reader.read(data)));
    server.pipe(client);
  }
}

type Rewrite = (sql: string) => string;

/** Reads the messages that a client sends, and adds the text of each executed statement to `statements`. */
class FrontendReader {
  readonly #statements: string[];
  readonly #rewrite: Rewrite;
  #rest: Buffer = Buffer.alloc(0);
  /** The first message has no type. */
  #started = false;
  /** The texts of prepared statements and of portals, by name. */
  readonly #prepared = new Map<string, string>();
  readonly #portals = new Map<string, string>();

  constructor(statements: string[], rewrite: Rewrite) {
    this.#statements = statements;
    this.#rewrite = rewrite;
  }

  /** The messages that are complete, as Postgres gets them. */
  read(data: Buffer): Buffer {
    this.#rest = Buffer.concat([this.#rest, data]);
    const complete: Buffer[] = [];
    for (;;) {
      const typeLength = this.#started ? 1 : 0;
      if (this.#rest.length < typeLength + 4) break;
      const length = typeLength + this.#rest.readInt32BE(typeLength);
      if (this.#rest.length < length) break;
      const body = this.#rest.subarray(typeLength + 4, length);
      const type = this.#started ? String.fromCharCode(this.#rest[0] ?? 0) : 'startup';
      complete.push(type === 'P' || type === 'Q' ? this.#rewritten(type, body) : this.#rest.subarray(0, length));
      this.#rest = this.#rest.subarray(length);
      // A request for encryption is answered with "no", and the startup message follows.
      if (type === 'startup') this.#started = body.length > 4;
      else this.#message(type, body);
    }
    return Buffer.concat(complete);
  }

  /** A message with the text of a statement, with the text that Postgres gets. */
  #rewritten(type: 'P' | 'Q', body: Buffer): Buffer {
    // A message of type P has the name of the prepared statement before the text.
    const begin = type === 'P' ? body.indexOf(0) + 1 : 0;
    const end = body.indexOf(0, begin);
    const sql = Buffer.from(this.#rewrite(body.toString('utf8', begin, end)));
    const head = Buffer.from(`${type}....`);
    head.writeInt32BE(4 + begin + sql.length + (body.length - end), 1);
    return Buffer.concat([head, body.subarray(0, begin), sql, body.subarray(end)]);
  }

  #message(type: string, body: Buffer): void {
    const [first = '', second = ''] = body.toString('latin1').split('\0');
    if (type === 'P') this.#prepared.set(first, second);
    else if (type === 'B') this.#portals.set(first, this.#prepared.get(second) ?? '');
    else if (type === 'E') this.#statements.push(this.#portals.get(first) ?? '');
    else if (type === 'Q') this.#statements.push(first);
  }
}
