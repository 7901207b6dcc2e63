/**
 * `route.get`, `route.post` and the other methods: builders that make an HTTP route from a path and a handler.
 *
 * Safe in a browser: this file uses neither Node nor the engine. A wrong definition throws when it is built, that is,
 * when its module is loaded.
 */

import type { CorsOptions } from './cors-options.js';
import { type RateLimit, rateLimitProblem } from './function-limits.js';

/** The parameters of a path as strings: `{ id: string }` for `/webhooks/:id`, `{ rest: string }` for `/files/*rest`. */
export type RouteParams<Path extends string> = string extends Path
  ? Readonly<Record<string, string>>
  : { readonly [Name in ParamName<Path>]: string };

type ParamName<Path extends string> = Path extends `${infer Segment}/${infer Rest}`
  ? SegmentParam<Segment> | ParamName<Rest>
  : SegmentParam<Path>;

type SegmentParam<Segment extends string> = Segment extends `:${infer Name}` | `*${infer Name}` ? Name : never;

/**
 * Answers a request. `ctx` is that of an action. A `ConvoyError` that it throws is sent with its status; any other error
 * is `INTERNAL`. `request.signal` aborts when the client leaves; the handler still runs to its end.
 */
export type RouteHandler<Context, Path extends string> = (
  ctx: Context,
  request: Request,
  params: RouteParams<Path>,
) => Response | PromiseLike<Response>;

/** The limits and checks of one route. */
export interface RouteOptions {
  /** Milliseconds until the response begins; by default `limits.actionMs` (10 minutes). A stream then has no limit. */
  readonly timeoutMs?: number;
  /** The maximum size of a request's body, in bytes; by default `limits.bodyBytes` (1 MiB). */
  readonly bodyBytes?: number;
  /**
   * Accepts requests of pages of every origin, with cookies, as the `form_post` of OAuth needs. The handler must then
   * not take cookies as a proof of who asks.
   */
  readonly crossSite?: boolean;
  /** Replaces the `cors` of `createConvoy` for this route. */
  readonly cors?: CorsOptions;
  /** How often one caller may send a request; `RATE_LIMITED`. */
  readonly rateLimit?: RateLimit;
}

/** Defines a route of one method. */
export interface RouteBuilder<Context> {
  /** Defines it with the default limits and checks. */
  <const Path extends string>(path: Path, handler: RouteHandler<Context, Path>): ConvoyRoute;
  /** Defines it with limits and checks of its own. */
  <const Path extends string>(path: Path, options: RouteOptions, handler: RouteHandler<Context, Path>): ConvoyRoute;
}

/** Defines routes, which `convoy/http.ts` exports. Parameters of a path are `:name`, and `*name` for its rest. */
export interface RouteBuilders<Context> {
  /** A route for `GET`. It also answers `HEAD`, without the body. */
  readonly get: RouteBuilder<Context>;
  /** A route for `POST`. */
  readonly post: RouteBuilder<Context>;
  /** A route for `PUT`. */
  readonly put: RouteBuilder<Context>;
  /** A route for `PATCH`. */
  readonly patch: RouteBuilder<Context>;
  /** A route for `DELETE`. */
  readonly delete: RouteBuilder<Context>;
  /** A route for `HEAD`, in place of the route for `GET`. */
  readonly head: RouteBuilder<Context>;
  /** A route for `OPTIONS`, in place of the automatic answer, preflights included. */
  readonly options: RouteBuilder<Context>;
  /** A route for every method but `OPTIONS`. Routes of the same path for one method come first. */
  readonly all: RouteBuilder<Context>;
}

/** A route made by a builder. */
export interface ConvoyRoute {
  /** `GET`; `ALL` stands for every method but `OPTIONS`. */
  readonly method: string;
  /** The path as it was written. */
  readonly path: string;
  /** Its limits and checks. */
  readonly options: RouteOptions;
  /** The handler; its parameters are those of its builder. */
  // biome-ignore lint/suspicious/noExplicitAny: the type of the context belongs to the builder, not to the route.
  readonly handler: (ctx: any, request: Request, params: any) => Response | PromiseLike<Response>;
}

/** The description of a route for the engine. */
export interface RouteDescription {
  /** The name by which it is exported. */
  readonly name: string;
  readonly method: string;
  /** The path as requests have it: percent-encoded. */
  readonly path: string;
  readonly options: RouteOptions;
}

/** A route with the name of its export. */
export interface NamedRoute {
  readonly name: string;
  readonly route: ConvoyRoute;
}

/** The exports of `convoy/http.ts`: each route is served, and other values are ignored. */
export interface RouteModule {
  readonly [name: string]: unknown;
}

const BRAND = Symbol.for('convoy.route');

/** Creates the builders for handlers whose context is a `Context`. */
export function createRouteBuilders<Context>(): RouteBuilders<Context> {
  return {
    get: builder('get'),
    post: builder('post'),
    put: builder('put'),
    patch: builder('patch'),
    delete: builder('delete'),
    head: builder('head'),
    options: builder('options'),
    all: builder('all'),
  };
}

/** The routes among the exports of a module, in a fixed order: by name. */
export function listRoutes(module: RouteModule | undefined): NamedRoute[] {
  return Object.keys(module ?? {})
    .sort()
    .flatMap((name) => {
      const route = module?.[name];
      return isConvoyRoute(route) ? [{ name, route }] : [];
    });
}

/** Describes routes for the engine, in the same order. */
export function describeRoutes(module: RouteModule | undefined): RouteDescription[] {
  return listRoutes(module).map(({ name, route: { method, path, options } }) => ({
    name,
    method,
    path: encodeURI(path),
    options,
  }));
}

/** Whether `value` was made by one of the builders, in any copy of this package. */
export function isConvoyRoute(value: unknown): value is ConvoyRoute {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[BRAND] === true;
}

function builder(name: keyof RouteBuilders<unknown>) {
  return (path: string, ...rest: readonly unknown[]): ConvoyRoute => {
    const [options, handler] = rest.length < 2 ? [{}, rest[0]] : rest;
    const called = `route.${name}(${JSON.stringify(path)})`;
    if (typeof handler !== 'function') {
      throw new TypeError(`${called} needs a handler: route.${name}(path, async (ctx, request) => new Response(…)).`);
    }
    const problem = pathProblem(path) ?? optionsProblem(options);
    if (problem !== null) throw new TypeError(`${called}: ${problem}`);
    return Object.freeze({
      [BRAND]: true,
      method: name.toUpperCase(),
      path,
      options: options as RouteOptions,
      handler: handler as ConvoyRoute['handler'],
    });
  };
}

/** What is wrong with a path, for its developer. */
function pathProblem(path: unknown): string | null {
  if (typeof path !== 'string' || !path.startsWith('/')) return 'a path begins with a slash, such as /webhooks/:id.';
  if (/\p{Surrogate}/u.test(path)) return 'a path is valid Unicode.';
  const odd = /[?#%\\\s]/.exec(path)?.[0];
  if (odd !== undefined) return `a path has no ${JSON.stringify(odd)}; write it decoded and without a query.`;
  const segments = path.slice(1).split('/');
  if (segments.some((segment, at) => segment === '' && at < segments.length - 1)) return 'a segment is empty.';
  if (segments.some((segment) => segment === '.' || segment === '..')) return 'a path has no dot segments.';
  const names = segments.filter((segment) => /^[:*]/.test(segment));
  for (const segment of names) {
    if (!/^[:*][A-Za-z_]\w*$/.test(segment)) {
      return `${segment} is no parameter; a parameter is a whole segment, such as :id, or *rest at the end.`;
    }
    if (names.filter((other) => other.slice(1) === segment.slice(1)).length > 1) {
      return `two parameters are called ${segment.slice(1)}.`;
    }
  }
  const rest = segments.findIndex((segment) => segment.startsWith('*'));
  return rest >= 0 && rest < segments.length - 1 ? `${segments[rest]} takes the rest of a path, so it is last.` : null;
}

function optionsProblem(options: unknown): string | null {
  if (typeof options !== 'object' || options === null) return 'the options are an object, before the handler.';
  for (const [key, value] of Object.entries(options)) {
    if (key === 'timeoutMs' || key === 'bodyBytes') {
      if (!Number.isSafeInteger(value) || value < (key === 'timeoutMs' ? 1 : 0))
        return `${key} is a whole number; ${String(value)} was given.`;
    } else if (key === 'crossSite') {
      if (typeof value !== 'boolean') return 'crossSite is true or false.';
    } else if (key === 'cors') {
      if (!Array.isArray((value as Partial<CorsOptions> | null)?.origins)) return 'cors is { origins: […] }.';
    } else if (key === 'rateLimit') {
      const problem = rateLimitProblem(value);
      if (problem !== null) return problem;
    } else {
      return `there is no option ${key}; a route has timeoutMs, bodyBytes, crossSite, cors and rateLimit.`;
    }
  }
  return null;
}
