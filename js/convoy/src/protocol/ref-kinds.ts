/**
 * The compiler's error for a reference of the wrong kind, as a sentence that names the function and what calls it:
 * `"messages.send is a mutation. Call it with useMutation."`.
 *
 * The parameter of a hook or a method has one of these types. It is the reference itself where the kind fits. Otherwise
 * it is the reference and the sentence, and no reference is assignable to a sentence. The kind selects by an indexed
 * access, because the compiler then accepts a type parameter of the right kind, as in a wrapper of a hook.
 */
import type { ApiRef } from './refs.js';

/** What calls a function of each kind, in one part of the package. */
export interface Callers {
  /** Calls a query. */
  readonly query: string;
  /** Calls a mutation. */
  readonly mutation: string;
  /** Calls an action. */
  readonly action: string;
}

/** The hooks, composables and primitives of the frameworks. */
export interface Hooks extends Callers {
  readonly query: 'useQuery';
  readonly mutation: 'useMutation';
  readonly action: 'useAction';
}

/** The methods of a client. */
export interface ClientMethods extends Callers {
  readonly query: 'client.query';
  readonly mutation: 'client.mutation';
  readonly action: 'client.action';
}

/** The methods of `createConvoy` on a server. */
export interface ServerMethods extends Callers {
  readonly query: 'convoy.query';
  readonly mutation: 'convoy.mutation';
  readonly action: 'convoy.action';
}

/** The members of a handler's context. */
export interface ContextMembers extends Callers {
  readonly query: 'ctx.runQuery';
  readonly mutation: 'ctx.runMutation';
  readonly action: 'ctx.runAction';
}

/** What calls functions with TanStack Query. */
export interface OptionMakers extends Callers {
  readonly query: 'queryOptions';
  readonly mutation: 'mutationOptions';
  readonly action: 'client.action';
}

type QuerySentence<Name extends string, By extends Callers> = `${Name} is a query. Call it with ${By['query']}.`;
type MutationSentence<
  Name extends string,
  By extends Callers,
> = `${Name} is a mutation. Call it with ${By['mutation']}.`;
type ActionSentence<Name extends string, By extends Callers> = `${Name} is an action. Call it with ${By['action']}.`;

interface QueryCases<Name extends string, By extends Callers, Check> {
  readonly query: Check;
  readonly mutation: MutationSentence<Name, By>;
  readonly action: ActionSentence<Name, By>;
}

interface MutationCases<Name extends string, By extends Callers> {
  readonly query: QuerySentence<Name, By>;
  readonly mutation: unknown;
  readonly action: ActionSentence<Name, By>;
}

interface ActionCases<Name extends string, By extends Callers> {
  readonly query: QuerySentence<Name, By>;
  readonly mutation: MutationSentence<Name, By>;
  readonly action: unknown;
}

/** The reference of a query; `Check` is a further condition on it. */
export type QueryArgument<Ref extends ApiRef, By extends Callers, Check = unknown> = Ref &
  QueryCases<Ref['name'], By, Check>[Ref['kind']];

/** The reference of a mutation. */
export type MutationArgument<Ref extends ApiRef, By extends Callers> = Ref &
  MutationCases<Ref['name'], By>[Ref['kind']];

/** The reference of an action. */
export type ActionArgument<Ref extends ApiRef, By extends Callers> = Ref & ActionCases<Ref['name'], By>[Ref['kind']];

/** A reference or a function of the kind `Kind`, for a function that calls it. */
export type CalleeArgument<Callee extends { readonly kind: string }, Kind extends keyof Callers> = Callee &
  {
    readonly query: QueryCases<NameOf<Callee>, ContextMembers, unknown>;
    readonly mutation: MutationCases<NameOf<Callee>, ContextMembers>;
    readonly action: ActionCases<NameOf<Callee>, ContextMembers>;
  }[Kind][Callee['kind'] & keyof Callers];

/** A function that is passed as a value has no name. */
type NameOf<Callee> = Callee extends { readonly name: infer Name extends string } ? Name : 'This function';
