/**
 * The pages of a paginated query, and how they change with the results of the server. Pure.
 *
 * Each page covers a range of the list, from a cursor to a cursor, and starts where the one before it ends. So rows that
 * come and go make pages longer or shorter, and are never in two pages or in none. A page is requested without an
 * `endCursor` first, and covers its range for as long as its results end at the same cursor. When one does not, the page
 * is requested with its `endCursor`: it is *pinned*.
 *
 * Pages that are replaced stay on display until all of their replacements have results. They are replaced where a page
 * is pinned, has grown past twice its size (split), has shrunk (merged with its neighbour), or was the end of the list
 * and is full (continued by another page).
 */
import type { PageResult, PaginationOptions } from '../protocol/pages.js';

/** Where a page ends. `unknown`: where its result ends, when it is displayed first. */
type PageEnd = 'unknown' | 'end of list' | { readonly cursor: string };

/** One page: a range of the list. */
export interface Page {
  readonly start: string | null;
  readonly end: PageEnd;
  readonly numItems: number;
  /** It is requested with its end. */
  readonly isPinned: boolean;
  /** The number of elements when its range was displayed first, 0 until then. */
  readonly firstLength: number;
}

/** Adjacent pages on display, and those that will replace them. A page that is loaded for the first time replaces none. */
export interface Segment {
  readonly shown: readonly Page[];
  readonly loading: readonly Page[] | null;
}

export type PageList = readonly Segment[];

/** The latest result of a page, `null` before the first. */
export type ResultOfPage = (page: Page) => PageResult | null;

/** Whether the first page of a list is loading, a further one is, a further one can be loaded, or all are loaded. */
export type PageListStatus = 'LoadingFirstPage' | 'CanLoadMore' | 'LoadingMore' | 'Exhausted';

/** Merged pages may exceed the size by this factor. Less than 2, so that a merged page is not split soon. */
const MERGED_SIZE = 1.5;

/** The list before its first page has a result. */
export function firstPage(numItems: number): PageList {
  return [{ shown: [], loading: [newPage(null, numItems)] }];
}

/** The list that also loads the next page; the same list where it cannot be loaded. */
export function withNextPage(list: PageList, numItems: number): PageList {
  const end = statusOf(list) === 'CanLoadMore' ? list.at(-1)?.shown.at(-1)?.end : undefined;
  return typeof end === 'object' ? [...list, { shown: [], loading: [newPage(end.cursor, numItems)] }] : list;
}

export function statusOf(list: PageList): PageListStatus {
  const last = list.at(-1)?.shown.at(-1);
  if (last !== undefined) return last.end === 'end of list' ? 'Exhausted' : 'CanLoadMore';
  return list.length > 1 ? 'LoadingMore' : 'LoadingFirstPage';
}

/** All pages that are requested. */
export function pagesOf(list: PageList): Page[] {
  return list.flatMap(({ shown, loading }) => [...shown, ...(loading ?? [])]);
}

/** The argument that requests a page. */
export function optionsOf({ start, end, numItems, isPinned }: Page): PaginationOptions {
  const options = { numItems, cursor: start };
  return isPinned && typeof end === 'object' ? { ...options, endCursor: end.cursor } : options;
}

/** The results to display, in order; `null` while a page on display has none for its range. */
export function resultsOf(list: PageList, resultOf: ResultOfPage): PageResult[] | null {
  const results: PageResult[] = [];
  for (const page of list.flatMap(({ shown }) => shown)) {
    const result = resultOf(page);
    if (result === null || !coversRange(page, result)) return null;
    results.push(result);
  }
  return results;
}

/** The list after the latest results; the same list where nothing is to be done. */
export function advance(list: PageList, resultOf: ResultOfPage): PageList {
  for (let current = list; ; ) {
    const next = step(current, resultOf);
    if (next === null) return current;
    current = next;
  }
}

/** One change of the list, `null` where none is due. */
function step(list: PageList, resultOf: ResultOfPage): PageList | null {
  for (const [at, segment] of list.entries()) {
    const ended = endedSegment(segment, at === list.length - 1, resultOf);
    if (ended !== null) return [...list.slice(0, at), ended];
    const next = segment.loading === null ? replaced(segment, resultOf) : loaded(segment.loading, segment, resultOf);
    if (next !== null) return [...list.slice(0, at), ...next, ...list.slice(at + 1)];
  }
  for (const at of list.keys()) {
    const merged = mergedSegment(list[at], list[at + 1], resultOf);
    if (merged !== null) return [...list.slice(0, at), merged, ...list.slice(at + 2)];
  }
  return null;
}

/** The last segment of a list that ends in a page of this one, by its result; `null` where it does not, or is known to. */
function endedSegment({ shown }: Segment, isLast: boolean, resultOf: ResultOfPage): Segment | null {
  const at = shown.findIndex((page) => !page.isPinned && resultOf(page)?.isDone === true);
  const page = shown[at];
  if (page === undefined) return null;
  const isKnown = page.end === 'end of list' && isLast && at === shown.length - 1;
  return isKnown ? null : { shown: [...shown.slice(0, at), { ...page, end: 'end of list' }], loading: null };
}

/** The segments after a step of loading; `null` where a result is missing. */
function loaded(loading: readonly Page[], { shown }: Segment, resultOf: ResultOfPage): Segment[] | null {
  const next: Segment[] = [];
  for (const page of loading) {
    const result = resultOf(page);
    if (result === null) return null;
    const end = endOf(page, result);
    if (end === 'unknown') return [{ shown, loading: continued(page, result) }];
    const firstLength = page.firstLength > 0 ? page.firstLength : result.page.length;
    next.push({ shown: [{ ...page, end, firstLength }], loading: null });
  }
  return next;
}

/** Where a page ends by its first result; `unknown` where it was to reach the end of the list and does not. */
function endOf({ end, isPinned }: Page, { isDone, continueCursor }: PageResult): PageEnd {
  if (isPinned) return end;
  if (isDone) return 'end of list';
  return end === 'unknown' ? { cursor: continueCursor } : 'unknown';
}

/** The segment of one page with its replacement, where it needs one. */
function replaced({ shown }: Segment, resultOf: ResultOfPage): Segment[] | null {
  const [page] = shown;
  const result = page === undefined ? null : resultOf(page);
  if (page === undefined || result === null) return null;
  if (!coversRange(page, result)) {
    const loading = typeof page.end === 'object' ? [{ ...page, isPinned: true }] : continued(page, result);
    return [{ shown, loading }];
  }
  const { splitCursor } = result;
  if (!page.isPinned || typeof splitCursor !== 'string' || splitCursor === '') return null;
  const middle = { cursor: splitCursor };
  return [
    { shown, loading: [pinned(page.start, middle, page.numItems), pinned(splitCursor, page.end, page.numItems)] },
  ];
}

/** A page that was to reach the end of the list and is full, and the one after it. */
function continued({ start, numItems }: Page, { continueCursor }: PageResult): Page[] {
  return [pinned(start, { cursor: continueCursor }, numItems), newPage(continueCursor, numItems)];
}

/** Two segments of one page each as one that loads both as one page; `null` where none of them has shrunk enough. */
function mergedSegment(a: Segment | undefined, b: Segment | undefined, resultOf: ResultOfPage): Segment | null {
  if (!a || !b || a.loading !== null || b.loading !== null) return null;
  const [first, second] = [...a.shown, ...b.shown];
  if (first === undefined || second === undefined || second.end === 'unknown') return null;
  const results = resultsOf([a, b], resultOf);
  if (results === null) return null;
  const [firstLength = 0, secondLength = 0] = results.map(({ page }) => page.length);
  const numItems = Math.max(first.numItems, second.numItems);
  const isOpen = second.end === 'end of list';
  const max = isOpen ? numItems : numItems * MERGED_SIZE;
  if (firstLength + secondLength > max) return null;
  if (!hasShrunk(first, firstLength) && !hasShrunk(second, secondLength)) return null;
  const merged = isOpen
    ? { ...newPage(first.start, numItems), end: second.end }
    : pinned(first.start, second.end, numItems);
  return { shown: [first, second], loading: [merged] };
}

/** Compared with its first result and not with its size: where a query drops rows of its pages, all of them are short. */
function hasShrunk({ firstLength }: Page, length: number): boolean {
  return firstLength > 0 && length <= firstLength / 2;
}

/** Whether a result has the range of its page. */
function coversRange({ end, isPinned }: Page, { isDone, continueCursor }: PageResult): boolean {
  if (isPinned || end === 'unknown') return true;
  return end === 'end of list' ? isDone : continueCursor === end.cursor;
}

function newPage(start: string | null, numItems: number): Page {
  return { start, end: 'unknown', numItems, isPinned: false, firstLength: 0 };
}

function pinned(start: string | null, end: PageEnd, numItems: number): Page {
  return { start, end, numItems, isPinned: true, firstLength: 0 };
}
