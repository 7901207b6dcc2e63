/**
 * A small live server in memory, for random tests of the client: it has queries whose results change, sends each
 * session the changes in a random one of the forms that the protocol allows, and loses or cuts frames on request. Its
 * `fetch` takes the place of the network.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Piece, QueryDescriptor, SessionChange } from '../src/protocol/frames.js';
import type { ServerMessage } from './scripted-session.js';

export type Below = (n: number) => number;

/** Pseudo-random numbers, the same in every run. */
export function seededRandom(seed: number): Below {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

export interface Row {
  readonly id: string;
  readonly n: number;
}

/** A list, or a page of one. Its first row has the version, so that a test can order results. */
export type Answer = readonly Row[] | { readonly page: readonly Row[]; readonly isDone: boolean };

export function versionOf(answer: Answer): number {
  return ('page' in answer ? answer.page : answer)[0]?.n ?? 0;
}

interface SentResult {
  readonly of: string;
  hash: string | null;
}

interface ModelSession {
  readonly name: string;
  readonly stream: ReadableStreamDefaultController<Uint8Array>;
  readonly queries: Map<number, SentResult>;
  seq: number;
}

export class ModelServer {
  readonly #below: Below;
  readonly #onRequest: () => void;
  readonly #history = new Map<string, Answer>();
  readonly #latest = new Map<string, string>();
  #session: ModelSession | null = null;
  #names = 0;
  /** The number of sessions opened so far. */
  get sessions(): number {
    return this.#names;
  }

  /** `onRequest` is called after each request of a client. */
  constructor(below: Below, onRequest: () => void) {
    this.#below = below;
    this.#onRequest = onRequest;
  }

  /** The current result of the query `of`, created on first use. */
  current(of: string): Answer {
    return this.#history.get(this.#hashOf(of)) as Answer;
  }

  /** Changes the result of `of`, partly. */
  change(of: string): void {
    const before = this.current(of);
    const version = { id: 'version', n: versionOf(before) + 1 };
    const rows = ('page' in before ? before.page : before).slice(1).filter(() => this.#below(5) > 0);
    for (let edits = this.#below(4); edits > 0; edits -= 1) {
      const at = this.#below(rows.length + 1);
      const row = { id: `r${this.#below(12)}`, n: version.n };
      rows.splice(at, this.#below(2), row);
    }
    if (this.#below(4) === 0) rows.reverse();
    this.#store(of, 'page' in before ? { page: [version, ...rows], isDone: this.#below(2) === 0 } : [version, ...rows]);
  }

  /** Sends the session changes that it has not been sent, in one frame; `loss` is the fate of that frame. */
  flush(loss: 'none' | 'lost' | 'cut'): void {
    const session = this.#session;
    if (session === null) return;
    const behind = [...session.queries].filter(([, { of, hash }]) => hash !== this.#hashOf(of));
    const chosen = behind.filter(() => loss === 'none' || this.#below(3) > 0);
    this.#frame(
      chosen.flatMap(([id, sent]) => this.#messagesFor(id, sent)),
      loss,
    );
  }

  /** Sends a message about no query, whose sequence number reveals lost frames. */
  ping(): void {
    this.#frame([{ type: 'settled', key: 'unknown' }], 'none');
  }

  interrupt(): void {
    const [id] = this.#session?.queries.keys() ?? [];
    if (id !== undefined) this.#frame([{ type: 'error', id, error: { code: 'UNAVAILABLE', message: 'away' } }], 'none');
    // The next flush sends the result again.
    const sent = id === undefined ? undefined : this.#session?.queries.get(id);
    if (sent) sent.hash = null;
  }

  /** Records an earlier result of `of` as the one the session has, as a server with a defect might. */
  corruptHash(of: string): void {
    const sent = [...(this.#session?.queries.values() ?? [])].find((sent) => sent.of === of);
    if (sent) sent.hash = `${of}#${1 + this.#below(versionOf(this.current(of)))}`;
  }

  end(): void {
    this.#frame([{ type: 'end', reason: 'shutdown', retryMs: 0 }], 'none');
    this.#disconnect();
  }

  readonly fetch: typeof fetch = async (url, init) => {
    const [, , , name] = new URL(String(url)).pathname.split('/');
    const body = JSON.parse(String(init?.body));
    queueMicrotask(this.#onRequest);
    return name === undefined ? this.#open(body.queries, init?.signal ?? null) : this.#changed(name, body);
  };

  #open(queries: readonly QueryDescriptor[], signal: AbortSignal | null): Response {
    const name = `session-${this.#names++}`;
    const body = new ReadableStream<Uint8Array>({
      start: (stream) => {
        this.#session = { name, stream, queries: new Map(), seq: 0 };
        signal?.addEventListener('abort', () => this.#session?.name === name && this.#disconnect());
        this.#frame([{ type: 'session', session: name, protocol: 1 }], 'none');
        this.#add(queries);
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  }

  #changed(name: string, { add, remove }: SessionChange): Response {
    const session = this.#session;
    if (session?.name !== name) {
      const error = { code: 'NOT_FOUND', message: 'no such session' };
      return Response.json({ ok: false, error }, { status: 404 });
    }
    for (const id of remove) session.queries.delete(id);
    this.#add(add);
    return Response.json({ ok: true, data: {} });
  }

  /** Sends some results at once, or `same` for a hash that is current; the next flush sends the others. */
  #add(queries: readonly QueryDescriptor[]): void {
    for (const { id, args, hash } of queries) {
      const { of } = args as { of: string };
      const known = hash !== undefined && this.#history.has(hash) ? hash : null;
      const sent: SentResult = { of, hash: known };
      this.#session?.queries.set(id, sent);
      if (known === this.#hashOf(of)) this.#frame([{ type: 'same', id, hash: known }], 'none');
      else if (this.#below(2) === 0) this.#frame(this.#messagesFor(id, sent), 'none');
    }
  }

  #messagesFor(id: number, sent: SentResult): ServerMessage[] {
    const hash = this.#hashOf(sent.of);
    const data = this.current(sent.of);
    const from = sent.hash;
    const before = from === null ? undefined : this.#history.get(from);
    sent.hash = hash;
    if (before === undefined || this.#below(3) === 0) return [{ type: 'result', id, hash, data }];
    if (!('page' in data))
      return [{ type: 'rows', id, from, hash, rows: this.#pieces(before as readonly Row[], data) }];
    const { page, ...rest } = data;
    return [{ type: 'rows', id, from, hash, rows: this.#pieces((before as typeof data).page, page), rest }];
  }

  /** `after` as runs of `before` and new rows, by a simple search. */
  #pieces(before: readonly Row[], after: readonly Row[]): Piece[] {
    const pieces: Piece[] = [];
    for (const row of after) {
      const at = before.findIndex((other) => isDeepStrictEqual(other, row));
      const last = pieces.at(-1);
      if (at < 0 || this.#below(10) === 0) pieces.push({ row });
      else if (Array.isArray(last) && last[0] + last[1] === at) pieces.splice(-1, 1, [last[0], last[1] + 1]);
      else pieces.push([at, 1]);
    }
    return pieces;
  }

  #frame(messages: readonly ServerMessage[], loss: 'none' | 'lost' | 'cut'): void {
    const session = this.#session;
    if (session === null || messages.length === 0) return;
    const lines = messages.map(
      ({ type, ...rest }) => `data: ${JSON.stringify({ type, seq: session.seq++, ...rest })}\n`,
    );
    const bytes = new TextEncoder().encode(`${lines.join('')}\n`);
    if (loss === 'lost') return;
    session.stream.enqueue(loss === 'cut' ? bytes.slice(0, this.#below(bytes.length)) : bytes);
    if (loss === 'cut') this.#disconnect(new TypeError('cut'));
  }

  #disconnect(cut?: Error): void {
    const session = this.#session;
    this.#session = null;
    if (cut) session?.stream.error(cut);
  }

  #hashOf(of: string): string {
    const known = this.#latest.get(of);
    if (known !== undefined) return known;
    const first = [{ id: 'version', n: 1 }];
    return this.#store(of, of.startsWith('page') ? { page: first, isDone: true } : first);
  }

  #store(of: string, answer: Answer): string {
    const hash = `${of}#${versionOf(answer)}`;
    this.#history.set(hash, answer);
    this.#latest.set(of, hash);
    return hash;
  }
}
