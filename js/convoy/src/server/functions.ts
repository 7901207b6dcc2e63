/**
 * `query`, `mutation`, `action` and their internal kinds: a handler with its schemas, as a value that can be loaded,
 * called and typed.
 *
 * Safe in a browser: nothing here reaches for Node or the engine. What is wrong with a definition is said when it is
 * made, which is when its module is loaded.
 */

import * as z from 'zod';
import type { FunctionShape } from '../protocol/refs.js';
import {
  callerInput,
  type InputOf,
  isZodType,
  type OutputOf,
  type ParseSubject,
  parseMaybeAsync,
  type ZodType,
} from '../schema/index.js';
import type { ConvoyContext, MutationContext, QueryContext } from './contexts.js';

/** What a function may be. Internal functions are of the same kinds. */
export type FunctionKind = 'query' | 'mutation' | 'action';

/** What `input` takes: a shape, or an object schema. */
export type FunctionInput = z.core.$ZodShape | ZodType;

/** No input: callers pass `{}` or nothing. */
export type NoInput = Record<never, never>;

/** The Zod schema of an input. */
export type InputSchemaOf<Input extends FunctionInput> = Input extends ZodType
  ? Input
  : Input extends z.core.$ZodShape
    ? z.ZodObject<{ -readonly [K in keyof Input]: Input[K] }>
    : never;

/** What a caller passes. */
export type ArgsIn<Input extends FunctionInput> = InputOf<InputSchemaOf<Input>>;

/** What the handler gets. */
export type ArgsOut<Input extends FunctionInput> = OutputOf<InputSchemaOf<Input>>;

/** What the handler may return: what `returns` takes, or anything, which is then the result. */
export type HandlerResult<Returns, Result> = Returns extends ZodType
  ? InputOf<Returns> | Promise<InputOf<Returns>>
  : Result;

/** What the function answers: what `returns` makes of the handler's result, or that result itself. */
export type FunctionResult<Returns, Result> = Returns extends ZodType ? OutputOf<Returns> : Awaited<Result>;

/** What `query({ … })`, `mutation({ … })` and `action({ … })` take. */
export interface ConvoyFunctionDefinition<Context, Input extends FunctionInput, Returns, Result> {
  /** Zod schemas of the arguments; unknown keys are stripped, a failure is `INVALID_ARGS`. */
  readonly input?: Input;
  /** The same as `input`; give one of the two. */
  readonly args?: Input;
  /** Zod schema the result is parsed by; a failure is `INTERNAL`. */
  readonly returns?: Returns;
  readonly handler: (ctx: Context, args: ArgsOut<Input>) => HandlerResult<Returns, Result>;
}

/** What only a query can be told. */
export interface QueryOptions {
  /** `false`: every subscriber gets a run of their own. */
  readonly share?: boolean;
}

/** What only a mutation can be told. */
export interface MutationOptions {
  /**
   * `false`: the handler runs once and outside of a transaction. Each operation is then on its own, and
   * `ctx.db.transaction` is for the parts that belong together.
   */
  readonly transaction?: boolean;
}

/** A function as it is loaded. Its types are those of its reference. */
export interface ConvoyFunction<Kind extends FunctionKind = FunctionKind, Args = unknown, Result = unknown>
  extends FunctionShape<Kind, Args, Result> {
  /** Reached by other functions and the command line, never by the network. */
  readonly internal: boolean;
  /** The schema arguments are parsed by. */
  readonly input: ZodType;
  readonly returns: ZodType | undefined;
  /** False for a query that was told so. */
  readonly share: boolean;
  /** False for a mutation that was told so. */
  readonly transaction: boolean;
  /** The handler as it was written; takes parsed arguments. */
  // biome-ignore lint/suspicious/noExplicitAny: a loaded function is called with whatever its input schema gave.
  readonly handler: (ctx: any, args: any) => unknown;
  /** Parses `args`, calls the handler with `ctx`, and parses the result; for tests and for calls of one's own. */
  // biome-ignore lint/suspicious/noExplicitAny: the context's type is the builder's, and not part of a function's type.
  run(ctx: any, args: Args): Promise<Result>;
}

/** A function of any kind and types. */
// biome-ignore lint/suspicious/noExplicitAny: `unknown` would refuse functions, whose arguments are contravariant.
export type AnyConvoyFunction = ConvoyFunction<FunctionKind, any, any>;

/** The `query` of a context, and its `internalQuery`. */
export type QueryBuilder<Context> = <
  Input extends FunctionInput = NoInput,
  Returns extends ZodType | undefined = undefined,
  Result = unknown,
>(
  definition: ConvoyFunctionDefinition<QueryContext<Context>, Input, Returns, Result> & QueryOptions,
) => ConvoyFunction<'query', ArgsIn<Input>, FunctionResult<Returns, Result>>;

/** The `mutation` of a context, and its `internalMutation`. */
export type MutationBuilder<Context> = <
  Input extends FunctionInput = NoInput,
  Returns extends ZodType | undefined = undefined,
  Result = unknown,
>(
  definition: ConvoyFunctionDefinition<MutationContext<Context>, Input, Returns, Result> & MutationOptions,
) => ConvoyFunction<'mutation', ArgsIn<Input>, FunctionResult<Returns, Result>>;

/** The `action` of a context, and its `internalAction`. */
export type ActionBuilder<Context> = <
  Input extends FunctionInput = NoInput,
  Returns extends ZodType | undefined = undefined,
  Result = unknown,
>(
  definition: ConvoyFunctionDefinition<Context, Input, Returns, Result>,
) => ConvoyFunction<'action', ArgsIn<Input>, FunctionResult<Returns, Result>>;

/** The builders for one context type; what the generated `server.ts` exports. */
export interface FunctionHelpers<Context> {
  readonly query: QueryBuilder<Context>;
  readonly mutation: MutationBuilder<Context>;
  readonly action: ActionBuilder<Context>;
  readonly internalQuery: QueryBuilder<Context>;
  readonly internalMutation: MutationBuilder<Context>;
  readonly internalAction: ActionBuilder<Context>;
}

const BRAND = Symbol.for('convoy.function');

/** The builders for handlers whose context is a `Context`. */
export function createFunctionHelpers<Context = ConvoyContext>(): FunctionHelpers<Context> {
  return {
    query: builder('query') as QueryBuilder<Context>,
    mutation: builder('mutation') as MutationBuilder<Context>,
    action: builder('action') as ActionBuilder<Context>,
    internalQuery: builder('query', 'internalQuery') as QueryBuilder<Context>,
    internalMutation: builder('mutation', 'internalMutation') as MutationBuilder<Context>,
    internalAction: builder('action', 'internalAction') as ActionBuilder<Context>,
  };
}

const untyped = createFunctionHelpers();

/** Defines a query: it reads, may be re-run at any time, and sees one snapshot. Its context is untyped. */
export const query: QueryBuilder<ConvoyContext> = untyped.query;

/** Defines a mutation: one transaction, rolled back when the handler throws. Its context is untyped. */
export const mutation: MutationBuilder<ConvoyContext> = untyped.mutation;

/** Defines an action: for the outside world. It runs once, in no transaction. Its context is untyped. */
export const action: ActionBuilder<ConvoyContext> = untyped.action;

/** Defines a query for other functions and the command line only. Its context is untyped. */
export const internalQuery: QueryBuilder<ConvoyContext> = untyped.internalQuery;

/** Defines a mutation for other functions and the command line only. Its context is untyped. */
export const internalMutation: MutationBuilder<ConvoyContext> = untyped.internalMutation;

/** Defines an action for other functions and the command line only. Its context is untyped. */
export const internalAction: ActionBuilder<ConvoyContext> = untyped.internalAction;

/** True for what the builders made, in any copy of this package. */
export function isConvoyFunction(value: unknown): value is AnyConvoyFunction {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[BRAND] === true;
}

/** A function gave what it must not give. For the developer: the caller only learns that it failed (`INTERNAL`). */
export class ResultError extends TypeError {
  override readonly name = 'ResultError';
}

/** Arguments, which are the caller's to repair. */
export const ARGUMENTS: ParseSubject = callerInput('The arguments do not fit');

/** A result, which is the function's author's. */
export const RESULT: ParseSubject = {
  messagePrefix: "The function's result does not fit its `returns`",
  toError: (message) => new ResultError(message),
};

interface LooseDefinition {
  readonly input?: unknown;
  readonly args?: unknown;
  readonly returns?: unknown;
  readonly share?: unknown;
  readonly transaction?: unknown;
  readonly handler?: unknown;
}

/** `word` is what the developer wrote, for messages; an internal kind's differs from its kind. */
function builder(kind: FunctionKind, word: keyof FunctionHelpers<unknown> = kind) {
  return (definition: LooseDefinition): AnyConvoyFunction => build(kind, word, definition);
}

function build(kind: FunctionKind, word: keyof FunctionHelpers<unknown>, definition: LooseDefinition) {
  if (typeof definition?.handler !== 'function') {
    throw new TypeError(`${word}({ … }) needs a \`handler\`: ${word}({ handler: async (ctx, args) => … }).`);
  }
  if (definition.input !== undefined && definition.args !== undefined) {
    throw new TypeError(`${word}({ … }) was given both \`input\` and \`args\`, which are the same; keep \`input\`.`);
  }
  const input = inputSchema(word, definition.input ?? definition.args ?? {});
  const returns = definition.returns;
  if (returns !== undefined && !isZodType(returns)) {
    throw new TypeError(`${word}({ returns }) takes a Zod 4 schema, such as z.object({ … }).`);
  }
  const handler = definition.handler as AnyConvoyFunction['handler'];
  return Object.freeze({
    [BRAND]: true,
    kind,
    internal: word !== kind,
    input,
    returns,
    share: kind !== 'query' || definition.share !== false,
    transaction: kind !== 'mutation' || definition.transaction !== false,
    handler,
    async run(ctx: unknown, args: unknown) {
      const result = await handler(ctx, await parseMaybeAsync(input, args ?? {}, ARGUMENTS));
      return returns === undefined ? result : parseMaybeAsync(returns, result, RESULT);
    },
  });
}

function inputSchema(word: string, input: unknown): ZodType {
  if (isZodType(input)) return input;
  if (typeof input !== 'object' || input === null) {
    throw new TypeError(`${word}({ input }) takes an object of Zod schemas, or one z.object(…).`);
  }
  for (const [name, schema] of Object.entries(input)) {
    if (!isZodType(schema)) {
      throw new TypeError(
        `${word}({ input }): "${name}" is not a Zod 4 schema; write z.string(), z.number() and the like.`,
      );
    }
  }
  return z.object({ ...(input as z.core.$ZodShape) });
}
