/**
 * Answers the requests of the page at `/_convoy`. Its files need no token; everything else does, because it reads
 * documents and calls functions.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { contextFromJson } from '../../../server/auth.js';
import type { Convoy } from '../../../server/convoy.js';
import type { DevAnswer, DevRequest, DevView } from '../../../server/dev-page.js';
import { DEV_QUERY_NAME, type DevQueryArguments } from '../../../server/dev-query.js';
import { convoyError, errorPayloadFrom, isConvoyError } from '../../../values/errors.js';
import { assetText } from '../../assets.js';
import type { InspectedCode } from '../../code/inspect.js';
import type { DevProblem } from '../report.js';

export interface DevPageOptions {
  /** Authorizes calls. */
  readonly token: string;
  /** Whether other machines can reach the server; internal functions then cannot be called. */
  readonly isExposed: boolean;
  /** The path of the API. */
  readonly basePath: string;
  readonly convoy: () => Pick<Convoy, 'query' | 'mutation' | 'action'>;
  readonly code: () => Pick<InspectedCode, 'functions' | 'tables'>;
  /** Why the current code is not loaded, or `null`. */
  readonly problem: () => DevProblem | null;
}

type Body = Readonly<Record<string, unknown>>;

const FILES: Readonly<Record<string, readonly [string, string]>> = {
  '': ['index.html', 'text/html; charset=utf-8'],
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/fields.js': ['fields.js', 'text/javascript; charset=utf-8'],
};

export class DevPage {
  readonly #options: DevPageOptions;
  readonly #actions: Readonly<Record<string, (body: Body, view: DevView) => unknown>> = {
    '/state': (body, view) => this.#state(body, view),
    '/input': ({ name }) => this.#ask({ inputOf: this.#functionNamed(name).name }),
    '/latest': ({ table }) => this.#ask({ latestOf: String(table) }),
    '/call': (body) => this.#call(body),
  };

  constructor(options: DevPageOptions) {
    this.#options = options;
  }

  /** Answers a request; never rejects. */
  readonly answer = async (request: DevRequest, view: DevView): Promise<DevAnswer> => {
    try {
      const file = request.method === 'GET' ? FILES[request.path.replace(/\?.*$/, '')] : undefined;
      if (file !== undefined) {
        const [name, contentType] = file;
        return { status: 200, contentType, body: await assetText(`dev-page/${name}`) };
      }
      const action = request.method === 'POST' ? this.#actions[request.path] : undefined;
      if (action === undefined) throw convoyError('NOT_FOUND', 'The page of convoy dev has no such path.');
      this.#authorize(request.authorization);
      return json(200, { ok: true, data: (await action(bodyOf(request), view)) ?? null });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const failure = isConvoyError(error) ? error : convoyError('INTERNAL', message);
      return json(failure.status, { ok: false, error: errorPayloadFrom(failure) });
    }
  };

  #authorize(authorization: string | null): void {
    const given = digest(authorization ?? '');
    if (timingSafeEqual(given, digest(`Bearer ${this.#options.token}`))) return;
    throw convoyError('UNAUTHORIZED', 'Open the link that convoy dev prints: it contains the token of this run.');
  }

  #state({ seenLines }: Body, view: DevView): unknown {
    const { code, problem, isExposed, basePath } = this.#options;
    const { functions, tables } = code();
    return {
      functions: functions.map(({ name, kind, internal }) => ({ name, kind, internal })),
      tables: tables.map(({ name }) => name),
      internalCallable: !isExposed,
      basePath,
      problem: problem(),
      live: view.liveOverview(),
      log: view.recentLines(Number.isSafeInteger(seenLines) ? Math.max(0, Number(seenLines)) : 0),
    };
  }

  #call({ name, args, context }: Body): Promise<unknown> {
    const { kind, name: known } = this.#functionNamed(name);
    const options = context === undefined ? {} : { context: objectIn('The context', contextFromJson(context)) };
    const input = objectIn('The input', args ?? {});
    const convoy = this.#options.convoy();
    switch (kind) {
      case 'query':
        return convoy.query({ kind, name: known } as never, input as never, options);
      case 'mutation':
        return convoy.mutation({ kind, name: known } as never, input as never, options);
      case 'action':
        return convoy.action({ kind, name: known } as never, input as never, options);
    }
  }

  /** A function of the loaded code that may be called. */
  #functionNamed(name: unknown): InspectedCode['functions'][number] {
    const found = this.#options.code().functions.find((each) => each.name === name);
    if (found === undefined) throw convoyError('NOT_FOUND', `There is no function ${JSON.stringify(name)}.`);
    if (found.internal && this.#options.isExposed) {
      throw convoyError('FORBIDDEN', 'Internal functions cannot be called from the page while --host is set.');
    }
    return found;
  }

  #ask(args: DevQueryArguments): Promise<unknown> {
    const ref = { kind: 'query', name: DEV_QUERY_NAME };
    // It needs no caller.
    return this.#options.convoy().query(ref as never, args as never, { context: {} });
  }
}

function bodyOf({ body }: DevRequest): Body {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    throw convoyError('INVALID_ARGS', `The body is not JSON: ${String(cause)}.`);
  }
  return objectIn('The body', value) as Body;
}

function objectIn(what: string, value: unknown): object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw convoyError('INVALID_ARGS', `${what} must be a JSON object.`);
}

function json(status: number, value: unknown): DevAnswer {
  return { status, contentType: 'application/json; charset=utf-8', body: JSON.stringify(value) };
}

/** Digests have equal lengths, which a comparison in constant time needs. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
