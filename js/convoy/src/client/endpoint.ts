/**
 * Where the server is and how it is spoken to: addresses, headers, the bearer token, the position, and what an answer
 * means. The only place of the client that calls `fetch` or opens a WebSocket.
 *
 * Whatever goes wrong leaves here as a `ConvoyError`. A path that fails before our server could speak (no network, a
 * proxy's 502) is `UNAVAILABLE`, with what was caught as its `cause`.
 */
import { parseAnswer } from '../protocol/frames.js';
import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { acknowledgedBy, Position } from './consistency-token.js';

/** The token itself, or a function asked before every request, so that a renewed token is picked up. */
export type AuthSource = string | (() => string | null | undefined | Promise<string | null | undefined>);

/** Headers for every request, or a function asked before each. */
export type HeadersSource = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

export interface EndpointOptions {
  readonly baseUrl: string;
  readonly fetch?: typeof fetch | undefined;
  readonly headers?: HeadersSource | undefined;
  readonly auth?: AuthSource | undefined;
  readonly WebSocket?: typeof WebSocket | undefined;
}

/** A POST of JSON. */
export interface EndpointRequest {
  /** Below the base path: `/query/messages.list`. */
  readonly path: string;
  readonly accept?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
  readonly keepalive?: boolean | undefined;
  /** The bearer token, where it has been asked for already. */
  readonly token?: string | null;
  /** Called when token and headers are at hand and the request leaves, with the token. */
  readonly sent?: (token: string | null) => void;
  /** Called where a request that left at `askedAt` gets no answer, and was not given up. */
  readonly unanswered?: (askedAt: number) => void;
}

const BASE_PATH = '/api';
const POSITION_HEADER = 'convoy-position';

export class Endpoint {
  /** What this client has been shown; noted from every answer, and sent with every request. */
  readonly position = new Position();
  /** Where the changes stand that any client of this server in this process was told of. */
  readonly acknowledged: Position;
  readonly #options: EndpointOptions;
  #standIn = false;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.acknowledged = acknowledgedBy(options.baseUrl);
  }

  /** A call that may have changed something was answered. */
  acknowledge(response: Response): void {
    this.acknowledged.note(response.headers?.get(POSITION_HEADER));
  }

  /** The response, whatever its status. Rejects with `UNAVAILABLE` where there is none. */
  async post(request: EndpointRequest): Promise<Response> {
    const url = this.#url(request.path);
    const token = request.token === undefined ? await this.token() : request.token;
    const headers = await this.#headers(request, token);
    // Read late, so that a `fetch` replaced after the client was made (instrumentation, tests) is the one used.
    const send = this.#options.fetch ?? globalThis.fetch;
    request.sent?.(token);
    const askedAt = Date.now();
    let response: Response | undefined;
    try {
      response = await send(url, {
        method: 'POST',
        headers,
        body: request.body,
        signal: request.signal,
        cache: 'no-store',
        ...(request.keepalive === true ? { keepalive: true } : {}),
      });
      // A stand-in for `fetch` may answer with less than a whole `Response`.
      this.position.note(response?.headers?.get(POSITION_HEADER));
    } catch (cause) {
      if (!request.signal.aborted) request.unanswered?.(askedAt);
      throw unreachable(`No answer from ${url}`, cause);
    }
    if (!response) throw new ConvoyError('NOT_FOUND', `The \`fetch\` of this client gave no response for ${url}`);
    return response;
  }

  /** A WebSocket on its way. Throws where there are none, or where one would not carry what requests carry. */
  socket(path: string): WebSocket {
    const { headers, WebSocket = globalThis.WebSocket } = this.#options;
    if (this.#standIn) throw unreachable('The `fetch` of this client stands in for a server', null);
    if (headers !== undefined) throw unreachable('A WebSocket cannot carry the `headers` of this client', null);
    if (WebSocket === undefined) throw unreachable('There is no WebSocket here', null);
    return new WebSocket(this.#url(path).replace(/^http/, 'ws'));
  }

  /**
   * Whether `error` is how a stand-in for `fetch`, which knows calls and nothing else, answers what it does not know. A
   * network fails with a `TypeError`.
   */
  isOfStandIn({ code, cause }: ConvoyError): boolean {
    if (this.#options.fetch === undefined) return false;
    const threw = code === 'UNAVAILABLE' && cause instanceof Error && !(cause instanceof TypeError);
    this.#standIn ||= threw || code === 'NOT_FOUND' || code === 'METHOD_NOT_ALLOWED';
    return this.#standIn;
  }

  /** Who asks is said by a token, and not by cookies or `headers` alone. */
  get bringsToken(): boolean {
    return this.#options.auth !== undefined;
  }

  /** The bearer token of this moment, if there is one. */
  async token(): Promise<string | null> {
    const { auth } = this.#options;
    return prepared(async () => (typeof auth === 'function' ? await auth() : auth) || null);
  }

  #url(path: string): string {
    return `${this.#options.baseUrl}${BASE_PATH}${path}`;
  }

  async #headers(request: EndpointRequest, token: string | null): Promise<Headers> {
    const { headers } = this.#options;
    const all = await prepared(async () => new Headers(typeof headers === 'function' ? await headers() : headers));
    // Not every text can be a header.
    if (token !== null) await prepared(async () => all.set('authorization', `Bearer ${token}`));
    all.set('accept', request.accept ?? 'application/json');
    all.set('content-type', 'application/json');
    if (this.position.latest !== null) all.set(POSITION_HEADER, this.position.latest);
    for (const [name, value] of Object.entries(request.headers ?? {})) all.set(name, value);
    return all;
  }
}

/** What the application gives for its requests; a failure there is one of the request. */
async function prepared<Given>(give: () => Promise<Given>): Promise<Given> {
  try {
    return await give();
  } catch (cause) {
    throw unreachable('The request could not be prepared: `headers` or `auth` failed', cause);
  }
}

/** The data of a call's answer; throws the error it carries. */
export async function readAnswer(response: Response): Promise<unknown> {
  const answer = parseAnswer(await readText(response));
  if (answer === null) throw notOurs(response);
  if (!answer.ok) throw errorFromPayload(answer.error, { status: response.status });
  return answer.data;
}

/** The error by which a live session was refused before its stream began. */
export async function readRefusal(response: Response): Promise<ConvoyError> {
  const answer = parseAnswer(await readText(response));
  return answer !== null && !answer.ok
    ? errorFromPayload(answer.error, { status: response.status })
    : notOurs(response);
}

export function unreachable(message: string, cause: unknown): ConvoyError {
  return new ConvoyError('UNAVAILABLE', message, { cause });
}

async function readText(response: Response): Promise<string> {
  try {
    return typeof response.text === 'function' ? await response.text() : JSON.stringify(await response.json());
  } catch (cause) {
    throw unreachable(`The answer of ${response.url} broke off`, cause);
  }
}

/** Something answered that is not Convoy: between us and the server (passes), or in its place (does not). */
function notOurs(response: Response): ConvoyError {
  const what = `${response.status} ${response.headers?.get('content-type') ?? 'without a content type'}`;
  if (response.status >= 500 || response.status === 429) {
    return new ConvoyError('UNAVAILABLE', `${response.url} answered ${what}: the server behind it seems to be away`);
  }
  return new ConvoyError('NOT_FOUND', `${response.url} answered ${what}, so it is not Convoy. Is \`baseUrl\` right?`);
}
