/**
 * A client of `POST /api/live` that shows a test every frame. Strict: whatever the protocol does not allow ends the
 * test. What the package's own client does is tested elsewhere; this one hides nothing.
 */
import { expect } from 'vitest';

/** A query as a session asks for it. */
export interface Wish {
  readonly id: number;
  readonly name: string;
  readonly args: object;
  readonly hash?: string;
}

interface Message {
  readonly type: string;
  readonly seq: number;
  readonly id?: number;
  readonly [member: string]: unknown;
}

interface Held {
  readonly hash: string;
  readonly data: unknown;
}

export interface Watching {
  readonly baseUrl: string;
  readonly token: string;
  readonly queries: readonly Wish[];
  /** What an earlier session held, which `queries` may name by hash. */
  readonly held?: ReadonlyMap<number, Held>;
  /** Is shown every result, whole. */
  readonly onResult?: (query: number, data: unknown) => void;
}

export class LiveSession {
  readonly held: Map<number, Held>;
  /** Messages that were about no result. */
  readonly told: Message[] = [];
  id = '';
  ended = false;
  readonly #watching: Watching;
  readonly #hangUp = new AbortController();
  readonly #waiting = new Set<() => void>();
  #reading: Promise<void> = Promise.resolve();
  #nextSeq = 0;

  private constructor(watching: Watching) {
    this.#watching = watching;
    this.held = new Map(watching.held);
  }

  static async open(watching: Watching): Promise<LiveSession> {
    const session = new LiveSession(watching);
    const response = await session.#post('live', watching.token, { protocol: 1, queries: watching.queries });
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    session.#reading = session.#read(response).finally(() => {
      session.ended = true;
      session.#wake();
    });
    await session.until(() => session.id !== '');
    return session;
  }

  /** Changes what is watched, or by `token` who watches; gives the status. */
  async change(change: { add?: readonly Wish[]; remove?: readonly number[] }, token?: string): Promise<number> {
    const body = { add: [], remove: [], ...change, ...(token === undefined ? {} : { auth: true }) };
    const response = await this.#post(`live/${this.id}`, token ?? this.#watching.token, body);
    await response.arrayBuffer();
    return response.status;
  }

  data(query: number): unknown {
    return this.held.get(query)?.data;
  }

  /** Waits until what was heard fits. */
  async until(fits: () => boolean): Promise<void> {
    while (!fits()) {
      if (this.ended) {
        await this.#reading;
        throw new Error(`The stream has ended: ${JSON.stringify(this.told)}`);
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Hangs up. */
  async close(): Promise<void> {
    this.#hangUp.abort();
    await this.#reading;
  }

  #post(path: string, token: string, body: object): Promise<Response> {
    return fetch(`${this.#watching.baseUrl}/api/${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      ...(path === 'live' ? { signal: this.#hangUp.signal } : {}),
    });
  }

  async #read(response: Response): Promise<void> {
    const text = new TextDecoder();
    let buffer = '';
    try {
      for await (const bytes of response.body ?? []) {
        buffer += text.decode(bytes, { stream: true });
        const events = buffer.split('\n\n');
        buffer = events.pop() ?? '';
        for (const event of events) this.#hear(event);
        this.#wake();
      }
    } catch (error) {
      if (!this.#hangUp.signal.aborted) throw error;
    }
  }

  #hear(event: string): void {
    for (const line of event.split('\n')) {
      if (line.startsWith('data:')) this.#take(JSON.parse(line.slice('data:'.length)));
    }
  }

  #take(message: Message): void {
    expect(message.seq).toBe(this.#nextSeq++);
    switch (message.type) {
      case 'session':
        this.id = message.session as string;
        return;
      case 'result':
        this.#hold(message, message.data);
        return;
      case 'rows':
        this.#hold(message, this.#applied(message));
        return;
      case 'same':
        expect(this.held.get(message.id as number)?.hash).toBe(message.hash);
        this.#watching.onResult?.(message.id as number, this.data(message.id as number));
        return;
      default:
        this.told.push(message);
    }
  }

  #hold(message: Message, data: unknown): void {
    this.held.set(message.id as number, { hash: message.hash as string, data });
    this.#watching.onResult?.(message.id as number, data);
  }

  #applied(message: Message): unknown {
    const held = this.held.get(message.id as number);
    expect(held?.hash).toBe(message.from);
    const list = held?.data as readonly unknown[];
    const pieces = message.rows as readonly (readonly [number, number] | { readonly row: unknown })[];
    return pieces.flatMap((piece) => ('row' in piece ? [piece.row] : list.slice(piece[0], piece[0] + piece[1])));
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
