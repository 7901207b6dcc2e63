/**
 * Queries that return pages: the argument that selects a page, the page, and the types of a reference to such a query.
 */
import type { ArgsOfRef, ResultOfRef } from './refs.js';

/** The argument `paginationOpts` of a query that returns pages. */
export interface PaginationOptions {
  /** The maximum number of elements, unless `endCursor` ends the page. */
  readonly numItems: number;
  /** `null` for the first page, then the `continueCursor` of the page before. */
  readonly cursor: string | null;
  /** Ends the page at this cursor, regardless of its number of elements. */
  readonly endCursor?: string | null | undefined;
}

/** A result of `.paginate()`, possibly with other elements. */
export interface PageResult<Element = unknown> {
  /** The elements of the page. */
  readonly page: readonly Element[];
  /** True if the list ends with this page. */
  readonly isDone: boolean;
  /** The end of this page, where the next one starts. */
  readonly continueCursor: string;
  /** The middle of a page with an `endCursor` that has more than twice `numItems` documents. */
  readonly splitCursor?: string | undefined;
}

/** The arguments of a paginated query without `paginationOpts`, which the client sets. */
export type PaginatedArgsOf<Ref> = OmitFromEach<ArgsOfRef<Ref>, 'paginationOpts'>;

type OmitFromEach<Args, Name extends string> = Args extends unknown
  ? { [Key in keyof Args as Key extends Name ? never : Key]: Args[Key] }
  : never;

/** The type of the elements of a paginated query's pages. */
export type PageElementOf<Ref> =
  ResultOfRef<Ref> extends { readonly page: readonly (infer Element)[] } ? Element : never;

/** `unknown` for a query that returns pages; otherwise a text that says what is missing, for the compiler's error. */
export type PaginatedQueryCheck<Ref> =
  ResultOfRef<Ref> extends PageResult
    ? ArgsOfRef<Ref> extends { readonly paginationOpts: infer Options }
      ? 'endCursor' extends keyof Options
        ? unknown
        : 'paginationOpts of this query has no endCursor: use `paginationOpts` of @avvos/convoy in its input'
      : 'this query has no argument paginationOpts: use `paginationOpts` of @avvos/convoy in its input'
    : 'this query does not return a page: return the result of .paginate(paginationOpts)';

/** Whether a result is a page. */
export function isPageResult(value: unknown): value is PageResult {
  if (typeof value !== 'object' || value === null) return false;
  const { page, isDone, continueCursor } = value as Partial<PageResult>;
  return Array.isArray(page) && typeof isDone === 'boolean' && typeof continueCursor === 'string';
}
