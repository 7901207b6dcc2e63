/**
 * Where the server is and how it is spoken to: addresses, headers, the bearer token, and what an answer means. The
 * only place of the client that calls `fetch`.
 *
 * Whatever goes wrong leaves here as a `ConvoyError`. A path that fails before our server could speak (no network, a
 * proxy's 502) is `UNAVAILABLE`, with what was caught as its `cause`.
 */
import { parseAnswer } from '../protocol/frames.js';
import { ConvoyError, errorFromPayload } from '../values/errors.js';

/** The token itself, or a function asked before every request, so that a renewed token is picked up. */
export type AuthSource = string | (() => string | null | undefined | Promise<string | null | undefined>);

/** Headers for every request, or a function asked before each. */
export type HeadersSource = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

export interface EndpointOptions {
  readonly baseUrl: string;
  readonly fetch?: typeof fetch | undefined;
  readonly headers?: HeadersSource | undefined;
  readonly auth?: AuthSource | undefined;
}

export interface EndpointRequest {
  readonly method: 'GET' | 'POST';
  /** Below the base path: `/query/messages.list`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
  readonly keepalive?: boolean | undefined;
}

const BASE_PATH = '/api';

export class Endpoint {
  readonly #options: EndpointOptions;

  constructor(options: EndpointOptions) {
    this.#options = options;
  }

  /** The response, whatever its status. Rejects with `UNAVAILABLE` where there is none. */
  async send(request: EndpointRequest): Promise<Response> {
    const url = `${this.#options.baseUrl}${BASE_PATH}${request.path}`;
    const headers = await this.#headers(request.headers);
    // Read late, so that a `fetch` replaced after the client was made (instrumentation, tests) is the one used.
    const send = this.#options.fetch ?? globalThis.fetch;
    try {
      return await send(url, {
        method: request.method,
        headers,
        signal: request.signal,
        cache: 'no-store',
        ...(request.body === undefined ? {} : { body: request.body }),
        ...(request.keepalive === true ? { keepalive: true } : {}),
      });
    } catch (cause) {
      throw unreachable(`No answer from ${url}`, cause);
    }
  }

  async #headers(own: Readonly<Record<string, string>>): Promise<Headers> {
    const { headers, auth } = this.#options;
    try {
      const all = new Headers(typeof headers === 'function' ? await headers() : headers);
      const token = typeof auth === 'function' ? await auth() : auth;
      if (token) all.set('authorization', `Bearer ${token}`);
      for (const [name, value] of Object.entries(own)) all.set(name, value);
      return all;
    } catch (cause) {
      throw unreachable('The request could not be prepared: `headers` or `auth` failed', cause);
    }
  }
}

/** The data of a call's answer; throws the error it carries. */
export async function readAnswer(response: Response): Promise<unknown> {
  const answer = parseAnswer(await readText(response));
  if (answer === null) throw notOurs(response);
  if (!answer.ok) throw errorFromPayload(answer.error, { status: response.status });
  return answer.data;
}

/** The error by which a subscription was refused before its stream began. */
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
    return await response.text();
  } catch (cause) {
    throw unreachable(`The answer of ${response.url} broke off`, cause);
  }
}

/** Something answered that is not Convoy: between us and the server (passes), or in its place (does not). */
function notOurs(response: Response): ConvoyError {
  const what = `${response.status} ${response.headers.get('content-type') ?? 'without a content type'}`;
  if (response.status >= 500 || response.status === 429) {
    return new ConvoyError('UNAVAILABLE', `${response.url} answered ${what}: the server behind it seems to be away`);
  }
  return new ConvoyError('NOT_FOUND', `${response.url} answered ${what}, so it is not Convoy. Is \`baseUrl\` right?`);
}
