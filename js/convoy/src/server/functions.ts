/**
 * `query`, `mutation`, `action` and their internal variants: builders that make a typed function value from a handler and
 * its schemas.
 *
 * Safe in a browser: this file uses neither Node nor the engine. A wrong definition throws when it is built, that is,
 * when its module is loaded.
 */

import type { FunctionShape } from '../protocol/refs.js';
import {
  callerInput,
  type InputOf,
  isZodType,
  type OutputOf,
  type ParseSubject,
  parseMaybeAsync,
  type SchemaShape,
  type ShapeInput,
  type ShapeOutput,
  type TypedSchema,
  type ZodType,
} from '../schema/index.js';
import { type Auth, assertSignedIn, type SignedInContext } from './auth.js';
import type { ConvoyContext, MutationContext, QueryContext } from './contexts.js';
import { functionLimits, type OwnLimits, type RateLimit } from './function-limits.js';
import {
  type ActionOptions,
  checkOptions,
  httpAnswers,
  inputSchema,
  type LooseDefinition,
  type MutationOptions,
  type PublicCache,
  type QueryOptions,
} from './function-options.js';
import { createRouteBuilders, type RouteBuilders } from './routes.js';

/** The kinds of functions. Internal functions have the same kinds. */
export type FunctionKind = 'query' | 'mutation' | 'action';

/** The type of `input`: a shape, or an object schema. */
export type FunctionInput = SchemaShape | TypedSchema;

/** The input of a function without arguments: callers pass `{}` or omit it. */
export type NoInput = Record<never, never>;

/** The arguments as passed by a caller. */
export type ArgsIn<Input extends FunctionInput> = Input extends TypedSchema
  ? InputOf<Input>
  : Input extends SchemaShape
    ? ShapeInput<Input>
    : never;

/** The parsed arguments, as passed to the handler. */
export type ArgsOut<Input extends FunctionInput> = Input extends TypedSchema
  ? OutputOf<Input>
  : Input extends SchemaShape
    ? ShapeOutput<Input>
    : never;

/** The return type of the handler: the input of `returns`, or any type without it. */
export type HandlerResult<Returns, Result> = Returns extends TypedSchema
  ? InputOf<Returns> | Promise<InputOf<Returns>>
  : Result;

/** The result of the function: the output of `returns`, or the handler's result without it. */
export type FunctionResult<Returns, Result> = Returns extends TypedSchema ? OutputOf<Returns> : Settled<Result>;

/** `Awaited`, which compares members, after a cheaper step for what async functions return. */
type Settled<Result> = Result extends Promise<infer Value> ? Value : Awaited<Result>;

/** The definition passed to `query({ … })`, `mutation({ … })` and `action({ … })`. */
export interface ConvoyFunctionDefinition<Context, Input extends FunctionInput, Returns, Result> {
  /** Zod schemas of the arguments. Unknown keys are stripped; arguments that do not match are `INVALID_ARGS`. */
  readonly input?: Input;
  /** An alias of `input`; only one of the two may be given. */
  readonly args?: Input;
  /** The Zod schema of the result; a result that does not match is `INTERNAL`. */
  readonly returns?: Returns;
  /**
   * The code. It gets the context and the parsed arguments, and returns the result or a promise of it. A `ConvoyError`
   * that it throws reaches the caller; any other error is `INTERNAL`.
   */
  readonly handler: (ctx: Context, args: ArgsOut<Input>) => HandlerResult<Returns, Result>;
}

/** A function made by a builder. Its type parameters are those of its reference. */
export interface ConvoyFunction<Kind extends FunctionKind = FunctionKind, Args = unknown, Result = unknown>
  extends FunctionShape<Kind, Args, Result> {
  /** Callable by other functions and the command line, not from the network. */
  readonly internal: boolean;
  /** The schema of the arguments. */
  readonly input: ZodType;
  /** The schema of the result, if the function has one. */
  readonly returns: ZodType | undefined;
  /** False for a query defined with `share: false`. */
  readonly share: boolean;
  /** False for a query defined with `persist: false`. */
  readonly persist: boolean;
  /** A method beside POST by which a query can be called. */
  readonly http: 'GET' | null;
  /** For how long shared caches may keep answers of a query. */
  readonly cache: PublicCache | null;
  /** False for a query defined with `cache: false`: its calls are never answered from memory. */
  readonly resultCache: boolean;
  /** True for a function defined with `authed`. */
  readonly authed: boolean;
  /** False for a mutation defined with `transaction: false`. */
  readonly transaction: boolean;
  /** The limits that differ from those of `createConvoy`. */
  readonly limits: OwnLimits;
  /** How often one caller may call it. */
  readonly rateLimit: RateLimit | null;
  /** The handler of the definition; takes parsed arguments. */
  // biome-ignore lint/suspicious/noExplicitAny: the argument is the output of the input schema, whose type is unknown here.
  readonly handler: (ctx: any, args: any) => unknown;
  /** Parses `args`, calls the handler with `ctx`, and parses the result; for tests and direct calls. */
  // biome-ignore lint/suspicious/noExplicitAny: the type of the context belongs to the builder, not to the function.
  run(ctx: any, args: Args): Promise<Result>;
}

/** A function of any kind and types. */
// biome-ignore lint/suspicious/noExplicitAny: no function is assignable with `unknown`, since arguments are contravariant.
export type AnyConvoyFunction = ConvoyFunction<FunctionKind, any, any>;

/** The type of `query` and `internalQuery` for a context type. */
export type QueryBuilder<Context> = <
  Input extends FunctionInput = NoInput,
  Returns extends TypedSchema | undefined = undefined,
  Result = unknown,
>(
  definition: ConvoyFunctionDefinition<QueryContext<Context>, Input, Returns, Result> & QueryOptions,
) => ConvoyFunction<'query', ArgsIn<Input>, FunctionResult<Returns, Result>>;

/** The type of `mutation` and `internalMutation` for a context type. */
export type MutationBuilder<Context> = <
  Input extends FunctionInput = NoInput,
  Returns extends TypedSchema | undefined = undefined,
  Result = unknown,
>(
  definition: ConvoyFunctionDefinition<MutationContext<Context>, Input, Returns, Result> & MutationOptions,
) => ConvoyFunction<'mutation', ArgsIn<Input>, FunctionResult<Returns, Result>>;

/** The type of `action` and `internalAction` for a context type. */
export type ActionBuilder<Context> = <
  Input extends FunctionInput = NoInput,
  Returns extends TypedSchema | undefined = undefined,
  Result = unknown,
>(
  definition: ConvoyFunctionDefinition<Context, Input, Returns, Result> & ActionOptions,
) => ConvoyFunction<'action', ArgsIn<Input>, FunctionResult<Returns, Result>>;

/** The builders for one context type. */
export interface FunctionBuilders<Context> {
  /** Defines a query: it reads, may run again at any time, and sees one snapshot. */
  readonly query: QueryBuilder<Context>;
  /** Defines a mutation: one transaction, rolled back if the handler throws, and repeated after a conflict. */
  readonly mutation: MutationBuilder<Context>;
  /** Defines an action: it runs once, outside of a transaction. */
  readonly action: ActionBuilder<Context>;
  /** Defines a query for other functions and the command line only. */
  readonly internalQuery: QueryBuilder<Context>;
  /** Defines a mutation for other functions and the command line only. */
  readonly internalMutation: MutationBuilder<Context>;
  /** Defines an action for other functions and the command line only. */
  readonly internalAction: ActionBuilder<Context>;
}

/** The builders for one context type, as exported by the generated `server.ts`. */
export interface FunctionHelpers<Context> extends FunctionBuilders<Context> {
  /**
   * The same builders for functions that need a signed-in caller: without one they fail with `UNAUTHORIZED`, and
   * `ctx.auth.user` is never `null`. For contexts with `auth`.
   */
  readonly authed: FunctionBuilders<SignedInContext<Context>>;
  /** Defines HTTP routes, which `convoy/http.ts` exports. Their context is that of an action. */
  readonly route: RouteBuilders<Context>;
}

const BRAND = Symbol.for('convoy.function');

/** Creates the builders for handlers whose context is a `Context`. */
export function createFunctionHelpers<Context = ConvoyContext>(): FunctionHelpers<Context> {
  const authed = buildersFor<SignedInContext<Context>>('signed in');
  return { ...buildersFor<Context>('anyone'), authed, route: createRouteBuilders<Context>() };
}

/** Who may call a function, as far as its builder decides it. */
type Callers = 'anyone' | 'signed in';

/** The builders of functions for these callers. */
function buildersFor<Context>(callers: Callers): FunctionBuilders<Context> {
  return {
    query: builder('query', 'query', callers) as QueryBuilder<Context>,
    mutation: builder('mutation', 'mutation', callers) as MutationBuilder<Context>,
    action: builder('action', 'action', callers) as ActionBuilder<Context>,
    internalQuery: builder('query', 'internalQuery', callers) as QueryBuilder<Context>,
    internalMutation: builder('mutation', 'internalMutation', callers) as MutationBuilder<Context>,
    internalAction: builder('action', 'internalAction', callers) as ActionBuilder<Context>,
  };
}

function needingSignIn(handler: AnyConvoyFunction['handler']): AnyConvoyFunction['handler'] {
  return (ctx, args) => {
    assertSignedIn(ctx);
    return handler(ctx, args);
  };
}

const untyped = createFunctionHelpers();

/** Defines a query: it reads, may be re-run at any time, and sees one snapshot. Its context is untyped. */
export const query: QueryBuilder<ConvoyContext> = untyped.query;

/** Defines a mutation: one transaction, rolled back when the handler throws. Its context is untyped. */
export const mutation: MutationBuilder<ConvoyContext> = untyped.mutation;

/** Defines an action: for side effects. It runs once, outside of a transaction. Its context is untyped. */
export const action: ActionBuilder<ConvoyContext> = untyped.action;

/** Defines a query for other functions and the command line only. Its context is untyped. */
export const internalQuery: QueryBuilder<ConvoyContext> = untyped.internalQuery;

/** Defines a mutation for other functions and the command line only. Its context is untyped. */
export const internalMutation: MutationBuilder<ConvoyContext> = untyped.internalMutation;

/** Defines an action for other functions and the command line only. Its context is untyped. */
export const internalAction: ActionBuilder<ConvoyContext> = untyped.internalAction;

/** The builders of functions that need a signed-in caller. Their context is untyped, except for `auth`. */
export const authed: FunctionBuilders<SignedInContext<ConvoyContext & { readonly auth: Auth }>> = createFunctionHelpers<
  ConvoyContext & { readonly auth: Auth }
>().authed;

/** Defines HTTP routes, which `convoy/http.ts` exports. Their context is untyped. */
export const route: RouteBuilders<ConvoyContext> = untyped.route;

/** Whether `value` was made by one of the builders, in any copy of this package. */
export function isConvoyFunction(value: unknown): value is AnyConvoyFunction {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[BRAND] === true;
}

/** A function returned an invalid result. The message is for the developer: the client only receives `INTERNAL`. */
export class ResultError extends TypeError {
  override readonly name = 'ResultError';
}

/** The subject for parsing arguments; errors go to the caller. */
export const ARGUMENTS: ParseSubject = callerInput('The arguments do not fit');

/** The subject for parsing a result; errors go to the developer. */
export const RESULT: ParseSubject = {
  messagePrefix: "The function's result does not fit its `returns`",
  toError: (message) => new ResultError(message),
};

/** `name` is that of the builder, for messages; it differs from the kind for an internal function. */
function builder(kind: FunctionKind, name: BuilderName, callers: Callers) {
  return (definition: LooseDefinition): AnyConvoyFunction => build({ kind, name, callers }, definition);
}

type BuilderName = keyof FunctionBuilders<unknown>;

interface BuilderSettings {
  readonly kind: FunctionKind;
  readonly name: BuilderName;
  readonly callers: Callers;
}

function build({ kind, name, callers }: BuilderSettings, definition: LooseDefinition) {
  if (typeof definition?.handler !== 'function') {
    throw new TypeError(`${name}({ … }) needs a \`handler\`: ${name}({ handler: async (ctx, args) => … }).`);
  }
  const subject = `${name}({ … })`;
  const internal = name !== kind;
  const input = inputSchema(name, definition);
  const returns = definition.returns;
  if (returns !== undefined && !isZodType(returns)) {
    throw new TypeError(`${name}({ returns }) takes a Zod 4 schema, such as z.object({ … }).`);
  }
  const answers = httpAnswers(definition, { isPublicQuery: name === 'query', subject });
  const limits = functionLimits(definition, { kind, internal, subject });
  checkOptions(subject, kind, definition);
  const given = definition.handler as AnyConvoyFunction['handler'];
  const authed = callers === 'signed in';
  const handler = authed ? needingSignIn(given) : given;
  return Object.freeze({
    [BRAND]: true,
    kind,
    internal,
    input,
    returns,
    share: definition.share !== false,
    persist: definition.persist !== false,
    ...answers,
    authed,
    transaction: definition.transaction !== false,
    ...limits,
    handler,
    async run(ctx: unknown, args: unknown) {
      const result = await handler(ctx, await parseMaybeAsync(input, args ?? {}, ARGUMENTS));
      return returns === undefined ? result : parseMaybeAsync(returns, result, RESULT);
    },
  });
}
