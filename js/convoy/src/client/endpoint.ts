/**
 * The server as the client's HTTP code uses it: URLs, headers, the bearer token, the consistency token, and the reading
 * of responses. The only file of the client that calls `fetch`.
 *
 * Every failure is thrown as a `ConvoyError`. A failure before a Convoy server could respond (no network, a proxy's
 * 502) is `UNAVAILABLE`, with the caught error as its `cause`.
 */
import { parseAnswer } from '../protocol/frames.js';
import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { stringOrNull, unsent } from './check-options.js';
import { acknowledgedBy, ConsistencyToken } from './consistency-token.js';

/** The token itself, or a function called before every request, so that a renewed token is used. */
export type AuthSource = string | (() => string | null | undefined | Promise<string | null | undefined>);

/** Headers for every request, or a function called before each. */
export type HeadersSource = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

/** Returns the `traceparent` of the caller's current span, in the form of W3C Trace Context, or nothing. */
export type TraceparentSource = () => string | null | undefined;

export interface EndpointOptions {
  readonly baseUrl: string;
  readonly fetch?: typeof fetch | undefined;
  readonly headers?: HeadersSource | undefined;
  readonly auth?: AuthSource | undefined;
  readonly traceparent?: TraceparentSource | undefined;
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
  /** The bearer token, where the caller has already resolved it. */
  readonly token?: string | null;
  /** Called when token and headers are resolved, right before the request is sent, with the token. */
  readonly onSend?: (token: string | null) => void;
  /** Called when a request sent at `sentAt` fails without a response, unless it was aborted. */
  readonly onNoResponse?: (sentAt: number) => void;
}

const BASE_PATH = '/api';
const POSITION_HEADER = 'convoy-position';
const TRACEPARENT = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/;

export class Endpoint {
  /** The latest position this client has seen; read from every response, and sent with every request. */
  readonly consistencyToken = new ConsistencyToken();
  /** The position of the latest change that this server has acknowledged to any client of this process. */
  readonly acknowledged: ConsistencyToken;
  readonly options: EndpointOptions;
  /** `fetch` is a mock that implements calls only. */
  isMock = false;

  constructor(options: EndpointOptions) {
    this.options = options;
    this.acknowledged = acknowledgedBy(options.baseUrl);
  }

  get baseUrl(): string {
    return this.options.baseUrl;
  }

  /** `fetch` may deliver a body while it arrives. That of React Native does not, and resolves only at the body's end. */
  get mayStream(): boolean {
    if (this.options.fetch !== undefined || typeof Response === 'undefined') return true;
    return new Response().body !== undefined;
  }

  /** Records the position in the response to a call that may have written. */
  acknowledge(response: Response): void {
    this.acknowledged.advance(response.headers?.get(POSITION_HEADER));
  }

  /** Resolves with the response, of any status. Rejects with `UNAVAILABLE` where there is none. */
  async post(request: EndpointRequest): Promise<Response> {
    const url = this.url(request.path);
    const token = request.token === undefined ? await this.token() : request.token;
    const headers = await this.#headers(request, token);
    // Read at each call, so that a `fetch` replaced after the client was created (instrumentation, tests) is used.
    const send = this.options.fetch ?? globalThis.fetch;
    request.onSend?.(token);
    const sentAt = Date.now();
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
      // A mock of `fetch` may return less than a whole `Response`.
      this.consistencyToken.advance(response?.headers?.get(POSITION_HEADER));
    } catch (cause) {
      if (!request.signal.aborted) request.onNoResponse?.(sentAt);
      const error = unavailable(`No response from ${url}.`, cause);
      // Another error is thrown by a `fetch` that the application has replaced.
      throw isNetworkFailure(cause) || request.signal.aborted ? unanswered(error) : error;
    }
    if (!response) throw new ConvoyError('NOT_FOUND', `The \`fetch\` of this client returned no response for ${url}.`);
    return response;
  }

  /**
   * Whether `error` shows that `fetch` is a mock that implements calls only, not the live endpoint.
   */
  isFromMockFetch({ code, cause }: ConvoyError): boolean {
    if (this.options.fetch === undefined) return false;
    const threw = code === 'UNAVAILABLE' && cause instanceof Error && !isNetworkFailure(cause);
    this.isMock ||= threw || code === 'NOT_FOUND' || code === 'METHOD_NOT_ALLOWED';
    return this.isMock;
  }

  /** The caller is identified by a token, not by cookies or `headers` alone. */
  get sendsToken(): boolean {
    return this.options.auth !== undefined;
  }

  /** The current bearer token, if there is one. */
  async token(): Promise<string | null> {
    const { auth } = this.options;
    const token = await fromApplication(async () => (typeof auth === 'function' ? await auth() : auth) || null);
    return stringOrNull('auth', token);
  }

  /** The header by which a call becomes part of the caller's trace. */
  get traceHeaders(): Readonly<Record<string, string>> {
    try {
      const traceparent = this.options.traceparent?.() ?? '';
      return TRACEPARENT.test(traceparent) ? { traceparent } : {};
    } catch {
      // A call does not fail because it cannot be traced.
      return {};
    }
  }

  /** The URL of a path below the base path. */
  url(path: string): string {
    return `${this.options.baseUrl}${BASE_PATH}${path}`;
  }

  async #headers(request: EndpointRequest, token: string | null): Promise<Headers> {
    const { headers } = this.options;
    const all = await fromApplication(async () => {
      const own = new Headers(typeof headers === 'function' ? await headers() : headers);
      // Throws for a token with characters that a header cannot contain.
      if (token !== null) own.set('authorization', `Bearer ${token}`);
      return own;
    });
    all.set('accept', request.accept ?? 'application/json');
    all.set('content-type', 'application/json');
    const position = this.consistencyToken.latest;
    if (position !== null) all.set(POSITION_HEADER, position);
    for (const [name, value] of Object.entries(request.headers ?? {})) all.set(name, value);
    return all;
  }
}

/** Gets a value that the application provides; an error there fails the request. */
async function fromApplication<T>(get: () => Promise<T>): Promise<T> {
  try {
    return await get();
  } catch (cause) {
    throw unsent(unavailable('The request could not be prepared: `headers` or `auth` failed.', cause));
  }
}

/** Returns the data in the response to a call; throws the error in it. */
export async function readAnswer(response: Response): Promise<unknown> {
  const answer = parseAnswer(await readText(response));
  if (answer === null) throw notConvoy(response);
  if (!answer.ok) throw errorFromPayload(answer.error, { status: response.status });
  return answer.data;
}

/** Throws the error with which the server refused a live session before opening the stream. */
export async function throwRefusal(response: Response): Promise<never> {
  await readAnswer(response);
  throw notConvoy(response);
}

export function unavailable(message: string, cause: unknown): ConvoyError {
  return new ConvoyError('UNAVAILABLE', message, { cause });
}

/** A real `fetch` throws this where there is no network: a `TypeError`, or Expo's own error with this message. */
function isNetworkFailure(cause: unknown): boolean {
  return cause instanceof TypeError || (cause instanceof Error && cause.message.startsWith('fetch failed'));
}

/** The errors of calls that Convoy has not answered: it is unknown whether they took effect. */
const unansweredErrors = new WeakSet<object>();

function unanswered(error: ConvoyError): ConvoyError {
  unansweredErrors.add(error);
  return error;
}

/** Whether Convoy has not answered the call, so that it is unknown whether the call took effect. */
export function isUnanswered(error: unknown): boolean {
  return typeof error === 'object' && error !== null && unansweredErrors.has(error);
}

async function readText(response: Response): Promise<string> {
  try {
    return typeof response.text === 'function' ? await response.text() : JSON.stringify(await response.json());
  } catch (cause) {
    throw unanswered(unavailable(`The response of ${response.url} broke off.`, cause));
  }
}

/**
 * The error for a response that is not Convoy's: transient where it is a proxy's, before an unavailable server;
 * permanent where `baseUrl` names another server.
 */
function notConvoy(response: Response): ConvoyError {
  const description = `${response.status} ${response.headers?.get('content-type') ?? 'without a content type'}`;
  if (response.status >= 500 || response.status === 429) {
    const message = `${response.url} returned ${description}: the server behind it seems to be away.`;
    return unanswered(new ConvoyError('UNAVAILABLE', message));
  }
  return new ConvoyError(
    'NOT_FOUND',
    `${response.url} returned ${description}, so it is not Convoy. Check \`baseUrl\`.`,
  );
}
