/**
 * A list that is loaded page by page and stays current: one live query for each page. `page-list.ts` decides which pages
 * there are; this file subscribes to them, and joins their results into one list, which changes as a whole.
 */
import { nameOfRef } from '../protocol/name-of-ref.js';
import {
  isPageResult,
  type PageElementOf,
  type PageResult,
  type PaginatedArgsOf,
  type PaginatedQueryCheck,
  type PaginationOptions,
} from '../protocol/pages.js';
import type { ClientMethods, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { canonicalArgs } from './canonical.js';
import type { ConvoyClient } from './client.js';
import { notifyListeners } from './listeners.js';
import type { LiveQuery } from './live-query.js';
import {
  advance,
  firstPage,
  optionsOf,
  type Page,
  type PageList,
  type PageListStatus,
  pagesOf,
  resultsOf,
  statusOf,
  withNextPage,
} from './page-list.js';
import { joinPages } from './page-results.js';
import { revokesData } from './snapshot.js';

/** The list that is loaded, and whether there is more of it. */
export interface PaginatedSnapshot<Element> {
  /** The elements of all loaded pages, in the order of the query. */
  readonly results: readonly Element[];
  /** Whether the first page is loading, a further one is, a further one can be loaded, or all are loaded. */
  readonly status: PageListStatus;
  /** A page is loading for the first time, and has not failed. */
  readonly isLoading: boolean;
  /** The error of a page that fails. The results are the last ones; `loadMore` requests the page again. */
  readonly error: ConvoyError | null;
}

/** A paginated query as frameworks use it: free to create, and subscribed only while it has listeners. */
export interface PaginatedQuery<Element> {
  /** The latest snapshot; the same object until something changes. */
  getSnapshot(): PaginatedSnapshot<Element>;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  /**
   * Loads the next page, of at most `numItems` elements. Does nothing while a page is loading, or if there are no more.
   * After an error it requests the pages that failed again.
   */
  loadMore(numItems: number): void;
}

/** Options of `paginatedQuery`. */
export interface PaginatedQueryOptions {
  /** The maximum number of elements of the first page. */
  readonly initialNumItems: number;
}

/** Before the first result. */
export const LOADING_FIRST_PAGE: PaginatedSnapshot<never> = {
  results: [],
  status: 'LoadingFirstPage',
  isLoading: true,
  error: null,
};

/**
 * The live pages of the query `ref`, without a framework. `args` are its arguments without `paginationOpts`.
 */
export function paginatedQuery<Ref extends ApiRef>(
  client: ConvoyClient,
  ref: QueryArgument<Ref, ClientMethods, PaginatedQueryCheck<Ref>>,
  args: PaginatedArgsOf<Ref>,
  options: PaginatedQueryOptions,
): PaginatedQuery<PageElementOf<Ref>>;
export function paginatedQuery<Ref extends AnyQueryRef>(
  client: ConvoyClient,
  ref: Ref & PaginatedQueryCheck<Ref>,
  args: PaginatedArgsOf<Ref>,
  { initialNumItems }: PaginatedQueryOptions,
): PaginatedQuery<PageElementOf<Ref>> {
  const text = canonicalArgs(args);
  const open = (paginationOpts: PaginationOptions) =>
    client.liveQuery<Ref>(ref, { ...JSON.parse(text), paginationOpts } as ArgsOfRef<Ref>);
  return new LivePages<PageElementOf<Ref>>(nameOfRef(ref), open, initialNumItems);
}

/** The live query of one page. */
interface Source {
  readonly query: LiveQuery<unknown>;
  readonly unsubscribe: () => void;
}

class LivePages<Element> implements PaginatedQuery<Element> {
  readonly #name: string;
  readonly #open: (options: PaginationOptions) => LiveQuery<unknown>;
  readonly #initialNumItems: number;
  readonly #listeners = new Set<() => void>();
  /** The subscriptions while there are listeners. */
  readonly #sources = new Map<string, Source>();
  /** The failed pages that were requested again. */
  readonly #retried = new Set<string>();
  #pages: PageList;
  /** The results of the pages on display. */
  #shown: readonly PageResult[] = [];
  #snapshot: PaginatedSnapshot<Element> = LOADING_FIRST_PAGE;

  constructor(name: string, open: (options: PaginationOptions) => LiveQuery<unknown>, initialNumItems: number) {
    this.#name = name;
    this.#open = open;
    this.#initialNumItems = initialNumItems;
    this.#pages = firstPage(initialNumItems);
  }

  readonly getSnapshot = (): PaginatedSnapshot<Element> => {
    // Without listeners, a result may be there already: another listener of the same query has it.
    if (this.#listeners.size === 0) this.#advance();
    return this.#snapshot;
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    // Wrapped, so that one function subscribed twice is two listeners.
    const own = () => listener();
    this.#listeners.add(own);
    if (this.#listeners.size === 1) this.#update();
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return;
      for (const { unsubscribe } of this.#sources.values()) unsubscribe();
      this.#sources.clear();
      this.#retried.clear();
    };
  };

  readonly loadMore = (numItems: number): void => {
    if (this.#listeners.size === 0) return;
    const failed = pagesOf(this.#pages).filter((page) => this.#errorOf(page) !== null);
    if (failed.length === 0) this.#pages = withNextPage(this.#pages, numItems);
    // A cursor is not valid any more, such as after a change of the index.
    else if (failed.some((page) => this.#errorOf(page)?.code === 'INVALID_ARGS' && page.start !== null)) {
      this.#pages = firstPage(this.#initialNumItems);
    } else for (const page of failed) this.#retry(page);
    this.#update();
  };

  /** Takes in the latest results, subscribes to the pages that are now needed, and notifies the listeners of a change. */
  #update(): void {
    const before = this.#snapshot;
    // A query that is subscribed to may have a result at once, with which further pages are needed.
    do this.#advance();
    while (this.#subscribe());
    if (this.#snapshot !== before) notifyListeners(this.#listeners);
  }

  #advance(): void {
    const resultOf = (page: Page) => this.#resultOf(page);
    this.#pages = advance(this.#pages, resultOf);
    const shown = resultsOf(this.#pages, resultOf);
    // Otherwise the last results stay: a page will be replaced, and they change together with it.
    if (shown !== null) this.#shown = shown;
    const error = pagesOf(this.#pages)
      .map((page) => this.#errorOf(page))
      .find((error) => error !== null);
    if (error && revokesData(error)) this.#shown = [];
    this.#setSnapshot(error ?? null);
  }

  #setSnapshot(error: ConvoyError | null): void {
    const before = this.#snapshot;
    const status = statusOf(this.#pages);
    const isLoading = error === null && (status === 'LoadingFirstPage' || status === 'LoadingMore');
    const results = joinPages(this.#shown, before.results) as readonly Element[];
    const next: PaginatedSnapshot<Element> = {
      results,
      status: status === 'LoadingMore' && error !== null ? 'CanLoadMore' : status,
      isLoading,
      error,
    };
    const names = Object.keys(next) as (keyof typeof next)[];
    if (names.some((name) => next[name] !== before[name])) this.#snapshot = next;
  }

  /** Subscribes to the requested pages, and to no others. Returns whether a subscription was added. */
  #subscribe(): boolean {
    const needed = new Map(pagesOf(this.#pages).map((page) => [keyOf(page), page]));
    let hasAdded = false;
    for (const [key, page] of needed) {
      if (this.#sources.has(key)) continue;
      const query = this.#open(optionsOf(page));
      this.#sources.set(key, { query, unsubscribe: query.subscribe(() => this.#update()) });
      hasAdded = true;
    }
    for (const [key, { unsubscribe }] of this.#sources) {
      if (needed.has(key)) continue;
      this.#sources.delete(key);
      unsubscribe();
    }
    return hasAdded;
  }

  #queryOf(page: Page): LiveQuery<unknown> {
    return this.#sources.get(keyOf(page))?.query ?? this.#open(optionsOf(page));
  }

  #resultOf(page: Page): PageResult | null {
    const { data } = this.#queryOf(page).getSnapshot();
    return isPageResult(data) && this.#problemOf(page, data) === null ? data : null;
  }

  #errorOf(page: Page): ConvoyError | null {
    const { data, error } = this.#queryOf(page).getSnapshot();
    if (this.#retried.has(keyOf(page))) return null;
    return error ?? (data === null ? null : this.#problemOf(page, data));
  }

  /** What is wrong with a result, for code without types. */
  #problemOf({ end, isPinned }: Page, data: unknown): ConvoyError | null {
    if (!isPageResult(data)) return unusable(`${this.#name} does not return a page, the result of .paginate()`);
    const ignoresEnd = isPinned && typeof end === 'object' && data.continueCursor !== end.cursor;
    return ignoresEnd ? unusable(`${this.#name} ignores paginationOpts.endCursor; pass it to .paginate()`) : null;
  }

  #retry(page: Page): void {
    const key = keyOf(page);
    this.#retried.add(key);
    void this.#queryOf(page)
      .refetch()
      .then(() => {
        this.#retried.delete(key);
        if (this.#listeners.size > 0) this.#update();
      });
  }
}

function unusable(message: string): ConvoyError {
  return new ConvoyError('INTERNAL', `${message}.`);
}

/** The same for two pages exactly when they are requested with the same arguments. */
function keyOf(page: Page): string {
  const { numItems, cursor, endCursor } = optionsOf(page);
  return JSON.stringify([numItems, cursor, endCursor]);
}
