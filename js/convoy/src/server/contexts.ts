/** The types of what a handler is given as `ctx`, and of what `createContext` may make of it. Types only. */

import type { Database, WriteMethod } from './database.js';

/** A document of a table nobody told us the types of. */
export interface UntypedDocument {
  readonly id: UntypedId;
  readonly _creationTime: number;
  // biome-ignore lint/suspicious/noExplicitAny: without a schema nothing is known of a field, as with JSON.parse.
  readonly [field: string]: any;
}

// An id of any table, for code without generated types.
// biome-ignore lint/suspicious/noExplicitAny: assignable to and from every `Id<…>`, which `Id<string>` is not.
type UntypedId = any;

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
}

/** What handlers of the untyped `query` and `mutation` are given. */
export type ConvoyContext = BaseContext;

/**
 * The context of a query: the full one, whose writing methods cannot be called. A helper typed for the full context
 * still takes it.
 */
export type QueryContext<Context> = Context extends { readonly db: infer Db }
  ? Context & { readonly db: { readonly [Method in WriteMethod & keyof Db]: never } }
  : Context;

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
 * every call and every subscription; a `ConvoyError` thrown here is the call's answer.
 */
// A method's parameters are compared both ways, which is what lets people annotate `req` as `IncomingMessage`.
// biome-ignore lint/suspicious/noExplicitAny: `base` is the user's own ServerContext; only they know its model.
export type CreateContext<Base = any> = {
  bivariant(req: ConvoyRequest, base: Base): object | Promise<object>;
}['bivariant'];
