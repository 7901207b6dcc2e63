/** Where functions wait: they send a request, which is answered when the test says so. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export class Gate {
  readonly url: string;
  readonly #server: Server;
  readonly #arrived: Map<number, ServerResponse>;
  #onArrival = () => {};

  private constructor(server: Server) {
    this.#server = server;
    this.#arrived = new Map();
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request, response) => {
      this.#arrived.set(Number(request.url?.slice(1)), response);
      this.#onArrival();
    });
  }

  static async open(): Promise<Gate> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Gate(server);
  }

  /** Waits until all of these calls are here: each sends a request to `<url>/<call>`. */
  async untilAll(calls: readonly number[]): Promise<void> {
    while (!calls.every((call) => this.#arrived.has(call))) {
      await new Promise<void>((resolve) => {
        this.#onArrival = resolve;
      });
    }
  }

  release(call: number): void {
    this.#arrived.get(call)?.end();
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
