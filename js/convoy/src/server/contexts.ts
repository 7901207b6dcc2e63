/** The types of what a handler is given as `ctx`, and of what `createContext` may make of it. Types only. */

import type { FunctionShape, RestArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { Database, WriteMethod } from './database.js';

/** A document of a table whose types are not known, which fits wherever the program has a type of its own for it. */
// biome-ignore lint/suspicious/noExplicitAny: without a schema nothing is known of a document, as with JSON.parse.
export type UntypedDocument = any;

/** The model of code that uses `query` and `mutation` of the package itself: any table, any field. */
export interface UntypedModel {
  [table: string]: {
    document: UntypedDocument;
    input: Readonly<Record<string, unknown>>;
    indexes: Record<string, readonly string[]>;
  };
}

/** What every handler is given, typed by a data model. The generated `ServerContext` is one of these. */
export interface BaseContext<Model = UntypedModel> {
  readonly db: Database<Model>;
  /**
   * The time, in milliseconds since 1970. In a query, `everyMs` (at least 100) also says how old an answer may become:
   * a live query runs again that often, and of several periods the shortest counts. Elsewhere it says nothing.
   */
  readonly now: (everyMs?: number) => number;
  /** Runs a query on what this function sees: its snapshot, its transaction, or the newest data. */
  readonly runQuery: RunFunction<'query'>;
  /**
   * Runs a mutation as part of this one; where it throws, nothing of it remains. Outside of a transaction it is one of
   * its own, committed when this resolves.
   */
  readonly runMutation: RunFunction<'mutation'>;
  /** Runs an action. Only actions may: everything else may run more than once, and the world cannot be rolled back. */
  readonly runAction: RunFunction<'action'>;
}

/**
 * Calls another function, internal ones too, by reference or by the function itself, with the caller's context.
 * Arguments and result are what JSON makes of them, as for every other caller; an error is thrown as it was there.
 */
export type RunFunction<Kind extends string> = <Callee extends CalleeOf<Kind>>(
  callee: Callee,
  ...args: RestArgsOfRef<Callee>
) => Promise<ResultOfRef<Callee>>;

/** A reference to a function of a kind, or such a function. Of any types, so `any`. */
// biome-ignore lint/suspicious/noExplicitAny: `unknown` would refuse every callee whose arguments are not.
export type CalleeOf<Kind extends string> = FunctionShape<Kind, any, any>;

/**
 * What handlers of the untyped `query` and `mutation` are given; with a database, as 0.0.1 wrote it, what those of a
 * schema are: `ConvoyContext<DbFromSchema<typeof schema>>`.
 */
export type ConvoyContext<Db = Database<UntypedModel>> = Db extends Database<infer Model> ? BaseContext<Model> : never;

/**
 * The context of a query: the full one, of which everything that writes cannot be called. A helper typed for the full
 * context still takes it.
 */
export type QueryContext<Context> = Context extends { readonly db: infer Db }
  ? Omit<Context, 'db' | 'runMutation' | 'runAction'> &
      Refused<Context, 'runMutation' | 'runAction', QueryOnlyReads> & { readonly db: QueryDatabase<Db> }
  : Omit<Context, 'runMutation' | 'runAction'> & Refused<Context, 'runMutation' | 'runAction', QueryOnlyReads>;

/** The context of a mutation: the full one, in which actions cannot be run. */
export type MutationContext<Context> = Omit<Context, 'runAction'> & Refused<Context, 'runAction', MutationMayRunAgain>;

/** `ctx.db` of a query, also inside of `transaction`. */
type QueryDatabase<Db> = Omit<Db, WriteMethod | 'transaction'> &
  Refused<Db, WriteMethod, QueryOnlyReads> & {
    readonly [Name in 'transaction' & keyof Db]: <Result>(
      fn: (tx: QueryDatabase<Db>) => Result | PromiseLike<Result>,
    ) => Promise<Result>;
  };

/** What a context has of `Names`, as what cannot be called. */
type Refused<Context, Names, Message extends string> = {
  readonly [Name in Names & keyof Context]: Refusal<Message>;
};

/**
 * A function that nobody can call, because no `this` is a `Message`; the compiler says so in the words of the message.
 * It passes for any function, so that what has one still fits where the full context is taken.
 */
// biome-ignore lint/suspicious/noExplicitAny: `unknown` would not pass for functions, whose arguments are contravariant.
type Refusal<Message extends string> = (this: Message, ...args: any[]) => Promise<never>;

type QueryOnlyReads = 'A query only reads. Make this function a mutation.';
type MutationMayRunAgain = 'A mutation may run more than once. Run actions from an action.';

/** The request a context is made from, with Node's names, so that a parameter annotated `IncomingMessage` compiles. */
export interface ConvoyRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The peer's address; `undefined` for a call from inside the program. */
  readonly ip?: string | undefined;
}

/**
 * Makes the context of a call from its request, as `convoy/server.ts` exports it. Return `{ ...base, … }`. It runs for
 * every call and every subscription; a `ConvoyError` thrown here is the call's answer. A function called by another gets
 * the members of its caller's context, with a base of its own in place of the caller's.
 */
// A method's parameters are compared both ways, which is what lets people annotate `req` as `IncomingMessage`.
// biome-ignore lint/suspicious/noExplicitAny: `base` is the user's own ServerContext; only they know its model.
export type CreateContext<Base = any> = {
  bivariant(req: ConvoyRequest, base: Base): MadeContext | Promise<MadeContext>;
}['bivariant'];

/** What `createContext` makes: any object, of which one member has a meaning of its own. */
export type MadeContext = object & {
  /** When what it says of the caller ceases to hold, in milliseconds since 1970; after that, calls are refused. */
  readonly expiresAt?: number | null | undefined;
};
