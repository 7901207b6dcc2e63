/** The results of adjacent pages as one list. Pure. */
import type { PageResult } from '../protocol/pages.js';

/**
 * The elements of all pages in order; `before` itself where they are equal to its elements. A document that is equal to
 * the one in `before` is the same object, also where another query has returned it.
 *
 * A document can be in two pages for a moment: it has moved from one to the other, and the result of one of them arrives
 * earlier (see `docs/internals/live-queries.md`, Frames). Then its two versions differ, and only one is in the list.
 */
export function joinPages(pages: readonly PageResult[], before: readonly unknown[]): readonly unknown[] {
  const elements = withIdentityOf(before, withoutSecondVersions(pages));
  const isSame = elements.length === before.length && elements.every((element, at) => element === before[at]);
  return isSame ? before : elements;
}

function withoutSecondVersions(pages: readonly PageResult[]): unknown[] {
  const earlier = new Map<string, unknown>();
  return pages.flatMap(({ page }) => {
    // An equal element is not another version: a query may return the same document for several rows.
    const own = page.filter((element) => {
      const id = idOf(element);
      return id === null || !earlier.has(id) || isEqual(earlier.get(id), element);
    });
    for (const element of own) {
      const id = idOf(element);
      if (id !== null) earlier.set(id, element);
    }
    return own;
  });
}

function withIdentityOf(before: readonly unknown[], elements: readonly unknown[]): unknown[] {
  const kept = new Set(before);
  const byId = new Map(before.map((element) => [idOf(element), element]));
  byId.delete(null);
  return elements.map((element) => {
    const known = kept.has(element) ? undefined : byId.get(idOf(element));
    return known !== undefined && isEqual(known, element) ? known : element;
  });
}

/** Elements are values of `JSON.parse`, and the server writes the fields of a document in one order. */
function isEqual(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function idOf(element: unknown): string | null {
  const id = typeof element === 'object' && element !== null ? (element as { id?: unknown }).id : null;
  return typeof id === 'string' ? id : null;
}
