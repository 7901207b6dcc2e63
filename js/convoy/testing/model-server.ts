/**
 * A small live server in memory, for random tests of the client: it has queries whose answers change, tells each
 * session what has changed in whichever of the ways the protocol allows, and loses and cuts what it is told to. Its
 * `fetch` is the wire.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Piece, QueryDescriptor, SessionChange } from '../src/protocol/frames.js';
import type { Saying } from './scripted-session.js';

export type Below = (n: number) => number;

/** Numbers that look random and are the same in every run. */
export function randomly(seed: number): Below {
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

/** A list, or a page of one. `version` is in the data, so that who sees it can tell old from new. */
export type Answer = readonly Row[] | { readonly page: readonly Row[]; readonly isDone: boolean };

export function versionOf(answer: Answer): number {
  return ('page' in answer ? answer.page : answer)[0]?.n ?? 0;
}

interface Told {
  readonly of: string;
  hash: string | null;
}

interface ModelSession {
  readonly name: string;
  readonly stream: ReadableStreamDefaultController<Uint8Array>;
  readonly queries: Map<number, Told>;
  seq: number;
}

export class ModelServer {
  readonly #below: Below;
  readonly #asked: () => void;
  readonly #history = new Map<string, Answer>();
  readonly #latest = new Map<string, string>();
  #session: ModelSession | null = null;
  #names = 0;
  /** Sessions there have been. */
  get sessions(): number {
    return this.#names;
  }

  /** `asked` is called when a client has asked for something. */
  constructor(below: Below, asked: () => void) {
    this.#below = below;
    this.#asked = asked;
  }

  /** The answer to the query `of`; made when it is first asked. */
  truth(of: string): Answer {
    return this.#history.get(this.#hashOf(of)) as Answer;
  }

  /** Another answer, some of it as it was. */
  change(of: string): void {
    const before = this.truth(of);
    const version = { id: 'version', n: versionOf(before) + 1 };
    const rows = ('page' in before ? before.page : before).slice(1).filter(() => this.#below(5) > 0);
    for (let edits = this.#below(4); edits > 0; edits -= 1) {
      const at = this.#below(rows.length + 1);
      const row = { id: `r${this.#below(12)}`, n: version.n };
      rows.splice(at, this.#below(2), row);
    }
    if (this.#below(4) === 0) rows.reverse();
    this.#keep(of, 'page' in before ? { page: [version, ...rows], isDone: this.#below(2) === 0 } : [version, ...rows]);
  }

  /** Tells the session, in one frame, of some of what it has not been told; `loss` is what becomes of that frame. */
  tell(loss: 'none' | 'lost' | 'cut'): void {
    const session = this.#session;
    if (session === null) return;
    const behind = [...session.queries].filter(([, { of, hash }]) => hash !== this.#hashOf(of));
    const chosen = behind.filter(() => loss === 'none' || this.#below(3) > 0);
    this.#frame(
      chosen.flatMap(([id, told]) => this.#news(id, told)),
      loss,
    );
  }

  /** A message about nothing, by which a client notices what it has missed. */
  ping(): void {
    this.#frame([{ type: 'settled', key: 'nobody’s' }], 'none');
  }

  interrupt(): void {
    const [id] = this.#session?.queries.keys() ?? [];
    if (id !== undefined) this.#frame([{ type: 'error', id, error: { code: 'UNAVAILABLE', message: 'away' } }], 'none');
    // Something follows by itself.
    const told = id === undefined ? undefined : this.#session?.queries.get(id);
    if (told) told.hash = null;
  }

  /** Believes that the session holds some earlier answer to `of`, as a server with a mistake might. */
  mistake(of: string): void {
    const told = [...(this.#session?.queries.values() ?? [])].find((told) => told.of === of);
    if (told) told.hash = `${of}#${1 + this.#below(versionOf(this.truth(of)))}`;
  }

  end(): void {
    this.#frame([{ type: 'end', reason: 'shutdown', retryMs: 0 }], 'none');
    this.#leave();
  }

  readonly fetch: typeof fetch = async (url, init) => {
    const [, , , name] = new URL(String(url)).pathname.split('/');
    const body = JSON.parse(String(init?.body));
    queueMicrotask(this.#asked);
    return name === undefined ? this.#open(body.queries, init?.signal ?? null) : this.#changed(name, body);
  };

  #open(queries: readonly QueryDescriptor[], signal: AbortSignal | null): Response {
    const name = `session-${this.#names++}`;
    const body = new ReadableStream<Uint8Array>({
      start: (stream) => {
        this.#session = { name, stream, queries: new Map(), seq: 0 };
        signal?.addEventListener('abort', () => this.#session?.name === name && this.#leave());
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

  /** Some are answered at once, what is named as held perhaps by that alone; the rest follow. */
  #add(queries: readonly QueryDescriptor[]): void {
    for (const { id, args, hash } of queries) {
      const { of } = args as { of: string };
      const known = hash !== undefined && this.#history.has(hash) ? hash : null;
      const told: Told = { of, hash: known };
      this.#session?.queries.set(id, told);
      if (known === this.#hashOf(of)) this.#frame([{ type: 'same', id, hash: known }], 'none');
      else if (this.#below(2) === 0) this.#frame(this.#news(id, told), 'none');
    }
  }

  #news(id: number, told: Told): Saying[] {
    const hash = this.#hashOf(told.of);
    const data = this.truth(told.of);
    const from = told.hash;
    const held = from === null ? undefined : this.#history.get(from);
    told.hash = hash;
    if (held === undefined || this.#below(3) === 0) return [{ type: 'result', id, hash, data }];
    if (!('page' in data)) return [{ type: 'rows', id, from, hash, rows: this.#pieces(held as readonly Row[], data) }];
    const { page, ...rest } = data;
    return [{ type: 'rows', id, from, hash, rows: this.#pieces((held as typeof data).page, page), rest }];
  }

  /** `after` as runs of `before` and new rows, the obvious way. */
  #pieces(before: readonly Row[], after: readonly Row[]): Piece[] {
    const pieces: Piece[] = [];
    for (const row of after) {
      const at = before.findIndex((held) => isDeepStrictEqual(held, row));
      const last = pieces.at(-1);
      if (at < 0 || this.#below(10) === 0) pieces.push({ row });
      else if (Array.isArray(last) && last[0] + last[1] === at) pieces.splice(-1, 1, [last[0], last[1] + 1]);
      else pieces.push([at, 1]);
    }
    return pieces;
  }

  #frame(messages: readonly Saying[], loss: 'none' | 'lost' | 'cut'): void {
    const session = this.#session;
    if (session === null || messages.length === 0) return;
    const lines = messages.map(
      ({ type, ...rest }) => `data: ${JSON.stringify({ type, seq: session.seq++, ...rest })}\n`,
    );
    const bytes = new TextEncoder().encode(`${lines.join('')}\n`);
    if (loss === 'lost') return;
    session.stream.enqueue(loss === 'cut' ? bytes.slice(0, this.#below(bytes.length)) : bytes);
    if (loss === 'cut') this.#leave(new TypeError('cut'));
  }

  #leave(cut?: Error): void {
    const session = this.#session;
    this.#session = null;
    if (cut) session?.stream.error(cut);
  }

  #hashOf(of: string): string {
    const known = this.#latest.get(of);
    if (known !== undefined) return known;
    const first = [{ id: 'version', n: 1 }];
    return this.#keep(of, of.startsWith('page') ? { page: first, isDone: true } : first);
  }

  #keep(of: string, answer: Answer): string {
    const hash = `${of}#${versionOf(answer)}`;
    this.#history.set(hash, answer);
    this.#latest.set(of, hash);
    return hash;
  }
}
