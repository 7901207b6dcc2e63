/**
 * References: the name and types of a function, without its code, for code that cannot import it (a browser). A
 * reference is a plain frozen object, created once, so it can be compared and used as a dependency of a hook.
 *
 * Types are inferred from the function structurally (see `FunctionShape`), so this file does not depend on the server.
 */

declare const types: unique symbol;

/** Comes before `kind`, so that the compiler's error for a reference of the wrong kind quotes these texts. */
declare const use: unique symbol;

/** Carries types that exist only at compile time. */
interface Typed<Args, Result> {
  readonly args: Args;
  readonly result: Result;
}

/** The part of a function a reference is made from: its kind, what a caller passes, and what the handler returns. */
export interface FunctionShape<Kind extends string, Args, Result> {
  /** The kind of the function. */
  readonly kind: Kind;
  /** @internal */
  readonly [types]?: Typed<Args, Result>;
}

/** The name and types of a query. */
export interface QueryRef<Args = unknown, Result = unknown, Name extends string = string> {
  /** With `false`, clients never store results of the query. */
  readonly persist?: false;
  /** @internal */
  readonly [use]?: 'this is a query: call it with useQuery, query or watch' | undefined;
  /** The kind of the function. */
  readonly kind: 'query';
  /** The path of the file and the name of the export: `messages.list`. */
  readonly name: Name;
  /** @internal */
  readonly [types]?: Typed<Args, Result>;
}

/** The name and types of a mutation. */
export interface MutationRef<Args = unknown, Result = unknown, Name extends string = string> {
  /** @internal */
  readonly [use]?: 'this is a mutation: call it with useMutation or mutation' | undefined;
  /** The kind of the function. */
  readonly kind: 'mutation';
  /** The path of the file and the name of the export: `messages.list`. */
  readonly name: Name;
  /** @internal */
  readonly [types]?: Typed<Args, Result>;
}

/** The name and types of an action. */
export interface ActionRef<Args = unknown, Result = unknown, Name extends string = string> {
  /** @internal */
  readonly [use]?: 'this is an action: call it with useAction or action' | undefined;
  /** The kind of the function. */
  readonly kind: 'action';
  /** The path of the file and the name of the export: `messages.list`. */
  readonly name: Name;
  /** @internal */
  readonly [types]?: Typed<Args, Result>;
}

// `any` so that every reference is one: argument and result types differ, and `unknown` would refuse some of them.
// biome-ignore lint/suspicious/noExplicitAny: type-level corner, see above.
export type AnyQueryRef = QueryRef<any, any>;
// biome-ignore lint/suspicious/noExplicitAny: type-level corner, see above.
export type AnyMutationRef = MutationRef<any, any>;
// biome-ignore lint/suspicious/noExplicitAny: type-level corner, see above.
export type AnyActionRef = ActionRef<any, any>;

/** Any reference of the generated `api` and `internal`. */
export type ApiRef = AnyQueryRef | AnyMutationRef | AnyActionRef;

/** The reference to the function `F` under `Name`; what each leaf of the generated `Api` is. */
export type RefFor<Name extends string, F> =
  F extends FunctionShape<'query', infer Args, infer Result>
    ? QueryRef<Args, Result, Name>
    : F extends FunctionShape<'mutation', infer Args, infer Result>
      ? MutationRef<Args, Result, Name>
      : F extends FunctionShape<'action', infer Args, infer Result>
        ? ActionRef<Args, Result, Name>
        : never;

/** The arguments a caller passes: the input before parsing (`z.input`). */
export type ArgsOfRef<Ref> = Ref extends { readonly [types]?: Typed<infer Args, unknown> } ? Args : never;

/** The arguments of a call to the reference, as rest parameters: they may be left out where `{}` fits. */
export type RestArgsOfRef<Ref> =
  Record<never, never> extends ArgsOfRef<Ref> ? [args?: ArgsOfRef<Ref>] : [args: ArgsOfRef<Ref>];

/** The result a caller receives: the function's result after JSON (`Date` is a string, `void` is `null`). */
export type ResultOfRef<Ref> = Ref extends { readonly [types]?: Typed<unknown, infer Result> }
  ? Jsonified<Result>
  : never;

/** The result type of a function without a return value; JSON turns it into `null`. */
// biome-ignore lint/suspicious/noConfusingVoidType: `void` is what such a function's result type is called.
type NoResult = void;

/** The type of a `T` after JSON. `any`, `unknown` and branded strings are unchanged. */
export type Jsonified<T> = 0 extends 1 & T ? T : unknown extends T ? T : [T] extends [NoResult] ? null : JsonValueOf<T>;

type JsonValueOf<T> = 0 extends 1 & T
  ? T
  : unknown extends T
    ? T
    : T extends string | number | boolean | null
      ? T
      : T extends NoResult
        ? null
        : T extends { toJSON(): infer Json }
          ? JsonValueOf<Json>
          : T extends NotJson
            ? never
            : T extends readonly unknown[]
              ? { [I in keyof T]: JsonValueOf<T[I]> }
              : T extends object
                ? JsonObjectOf<T>
                : never;

/** Types that a result must not contain, as the server refuses them. A key with such a value is left out of the type. */
type NotJson = symbol | bigint | ((...args: never) => unknown) | Collection;

/** Built-in objects without a form in JSON. Not `Error`, which any object with a name and a message would match. */
type Collection = ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | ArrayBufferView | ArrayBuffer | RegExp;

type JsonObjectOf<T> = Simplify<
  { [K in keyof T as KeyKind<K, T[K]> extends 'kept' ? K : never]: JsonValueOf<T[K]> } & {
    [K in keyof T as KeyKind<K, T[K]> extends 'maybe' ? K : never]?: JsonValueOf<Exclude<T[K], undefined>>;
  }
>;

/** Whether JSON keeps a key, may leave it out (its value can be `undefined`), or always leaves it out. */
type KeyKind<K, V> = K extends symbol
  ? 'dropped'
  : 0 extends 1 & V
    ? 'kept'
    : unknown extends V
      ? 'maybe'
      : [V] extends [undefined | NotJson]
        ? 'dropped'
        : undefined extends V
          ? 'maybe'
          : 'kept';

type Simplify<T> = { [K in keyof T]: T[K] } & {};

/** A reference to the query `name`, such as `'messages.list'`, with the options of its definition that clients need. */
export function makeQueryRef<Args, Result, Name extends string = string>(
  name: Name,
  { persist }: { readonly persist?: false | undefined } = {},
): QueryRef<Args, Result, Name> {
  return Object.freeze({ kind: 'query', name, ...(persist === false ? { persist } : {}) });
}

/** A reference to the mutation `name`, such as `'messages.send'`. */
export function makeMutationRef<Args, Result, Name extends string = string>(
  name: Name,
): MutationRef<Args, Result, Name> {
  return Object.freeze({ kind: 'mutation', name });
}

/** A reference to the action `name`, such as `'mail.send'`. */
export function makeActionRef<Args, Result, Name extends string = string>(name: Name): ActionRef<Args, Result, Name> {
  return Object.freeze({ kind: 'action', name });
}
