/** The types of a handler's `ctx` and of `createContext`. Types only. */

import type { CalleeArgument, Callers } from '../protocol/ref-kinds.js';
import type { FunctionShape, RestArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { Database, WriteMethod } from './database.js';

/** A document of a table without known types; assignable to any type of the program. */
// biome-ignore lint/suspicious/noExplicitAny: without a schema the type of a document is unknown, as with JSON.parse.
export type UntypedDocument = any;

/** The data model of the package's untyped `query` and `mutation`: any table, any field. */
export interface UntypedModel {
  [table: string]: {
    document: UntypedDocument;
    input: Readonly<Record<string, unknown>>;
    indexes: Record<string, readonly string[]>;
  };
}

/** The members that every handler's context has, typed by a data model. The generated `ServerContext` is one of these. */
export interface BaseContext<Model = UntypedModel> {
  /** The documents. In a query only the reading methods can be called. */
  readonly db: Database<Model>;
  /**
   * The time, in milliseconds since 1970. In a query, `everyMs` (at least 100) also limits the age of a result: a live
   * query runs again at that interval, the shortest if there are several. Elsewhere it has no effect.
   */
  readonly now: (everyMs?: number) => number;
  /** Runs a query on the data this function reads: its snapshot, its transaction, or the latest data. */
  readonly runQuery: RunFunction<'query'>;
  /**
   * Runs a mutation as part of the caller's transaction; if it throws, its writes are rolled back. Outside of a
   * transaction it runs in its own, committed when the promise resolves.
   */
  readonly runMutation: RunFunction<'mutation'>;
  /** Runs an action. Only actions may call it: other functions may run more than once, and side effects cannot be undone. */
  readonly runAction: RunFunction<'action'>;
  /** Writes to the log, with the name of the function and the id of its call. A member of this name of your own stays. */
  readonly log: Log;
}

/** The log of the process, as a function writes to it. */
export interface Log {
  /** Written in development, and with `CONVOY_DEBUG=1`. */
  readonly debug: LogLine;
  /** What happens as expected. */
  readonly info: LogLine;
  /** What someone should look at. */
  readonly warn: LogLine;
  /** What has failed. */
  readonly error: LogLine;
}

/**
 * Writes one line. Never throws, and never waits. `fields` are written as JSON: cycles, what is too large, and members
 * with names such as `password` are replaced.
 */
export type LogLine = (message: string, fields?: object) => void;

/**
 * Calls another function, also an internal one, by reference or by value, with the caller's context. Arguments and result
 * pass through JSON, as for every other caller; an error of the function is rethrown.
 */
export type RunFunction<Kind extends keyof Callers> = <Callee extends CalleeOf<string>>(
  callee: CalleeArgument<Callee, Kind>,
  ...args: RestArgsOfRef<Callee>
) => Promise<ResultOfRef<Callee>>;

/** A reference to a function of a kind, or such a function, of any types. */
// biome-ignore lint/suspicious/noExplicitAny: `unknown` would exclude every callee with other argument types.
export type CalleeOf<Kind extends string> = FunctionShape<Kind, any, any>;

/**
 * The context of handlers of the untyped `query` and `mutation`. With a database type, as in 0.0.1, the context for a
 * schema: `ConvoyContext<DbFromSchema<typeof schema>>`.
 */
export type ConvoyContext<Db = Database<UntypedModel>> = Db extends Database<infer Model> ? BaseContext<Model> : never;

/**
 * The context of a query: the full context, whose writing members cannot be called. It is still assignable to the full
 * context, so helpers typed for that accept it.
 */
export type QueryContext<Context> = Context extends { readonly db: infer Db }
  ? Omit<Context, 'db' | 'runMutation' | 'runAction'> &
      Refused<Context, 'runMutation' | 'runAction', QueryOnlyReads> & { readonly db: QueryDatabase<Db> }
  : Omit<Context, 'runMutation' | 'runAction'> & Refused<Context, 'runMutation' | 'runAction', QueryOnlyReads>;

/** The context of a mutation: the full context, whose `runAction` cannot be called. */
export type MutationContext<Context> = Omit<Context, 'runAction'> & Refused<Context, 'runAction', MutationMayRunAgain>;

/** `ctx.db` of a query, also inside of `transaction`. */
type QueryDatabase<Db> = Omit<Db, WriteMethod | 'transaction' | 'system'> &
  Refused<Db, WriteMethod, QueryOnlyReads> & {
    readonly [Name in 'system' & keyof Db]: QueryDatabase<Db>;
  } & {
    readonly [Name in 'transaction' & keyof Db]: <Result>(
      fn: (tx: QueryDatabase<Db>) => Result | PromiseLike<Result>,
    ) => Promise<Result>;
  };

/** The members `Names` of a context, each as a function that cannot be called. */
type Refused<Context, Names, Message extends string> = {
  readonly [Name in Names & keyof Context]: Refusal<Message>;
};

/**
 * A function that cannot be called, because no `this` is a `Message`; the compiler error contains the message. It is
 * assignable to any function type, so a context with such members is assignable to the full context.
 */
// biome-ignore lint/suspicious/noExplicitAny: `unknown` is not assignable here, since arguments are contravariant.
type Refusal<Message extends string> = (this: Message, ...args: any[]) => Promise<never>;

type QueryOnlyReads = 'A query only reads. Make this function a mutation.';
type MutationMayRunAgain = 'A mutation may run more than once. Run actions from an action.';

/** The request passed to `createContext`, with Node's names, so that a parameter annotated `IncomingMessage` compiles. */
export interface ConvoyRequest {
  /** The HTTP method, in capitals; `undefined` for a call from inside the program. */
  readonly method?: string | undefined;
  /** The path and the query string; `undefined` for a call from inside the program. */
  readonly url?: string | undefined;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The peer's address; `undefined` for a call from inside the program. */
  readonly ip?: string | undefined;
}

/**
 * Creates the context of a call from its request, as exported by `convoy/server.ts`. Return `{ ...base, … }`. It runs for
 * every call and every subscription; a `ConvoyError` thrown here fails the call. A function called by another receives
 * the members of its caller's context, but its own base.
 */
// Parameters of a method are bivariant, so users may annotate `req` as `IncomingMessage`.
// biome-ignore lint/suspicious/noExplicitAny: `base` is the generated ServerContext, whose model is unknown here.
export type CreateContext<Base = any, Context extends MadeContext = MadeContext> = {
  bivariant(req: ConvoyRequest, base: Base): Context | Promise<Context>;
}['bivariant'];

/** The result of `createContext`: any object; Convoy itself uses one member. */
export type MadeContext = object & {
  /** When the caller's credentials expire, in milliseconds since 1970; later calls fail with `UNAUTHORIZED`. */
  readonly expiresAt?: number | null | undefined;
};
