/**
 * Applies a `rows` message: builds a list, or the `page` of an object, from runs of the cached list and new elements.
 * Elements taken from the cached list stay the same objects.
 */
import type { LiveMessageOf, Piece } from '../protocol/frames.js';

/** The result after applying the message to `cached`; `null` where it does not match the cached list. */
export function applyPatch(cached: unknown, { rows, rest }: Pick<LiveMessageOf<'rows'>, 'rows' | 'rest'>): unknown {
  if (rest === undefined) return Array.isArray(cached) ? patchList(cached, rows) : null;
  const page = pageOf(cached);
  const list = page === null ? null : patchList(page, rows);
  return list === null ? null : { ...rest, page: list };
}

/** The part of `data` that `applyPatch` reads, with a copy of the list. */
export function copyList(data: unknown): unknown {
  if (Array.isArray(data)) return data.slice();
  const page = pageOf(data);
  return page === null ? null : { page: page.slice() };
}

function patchList(cached: readonly unknown[], pieces: readonly Piece[]): unknown[] | null {
  const list: unknown[] = [];
  for (const piece of pieces) {
    if ('row' in piece) {
      list.push(piece.row);
    } else {
      const [start, count] = piece;
      if (start + count > cached.length) return null;
      // Not spread into `push`: a run may have more elements than a call may have arguments.
      for (let at = start; at < start + count; at += 1) list.push(cached[at]);
    }
  }
  return list;
}

function pageOf(data: unknown): readonly unknown[] | null {
  if (typeof data !== 'object' || data === null || !('page' in data)) return null;
  return Array.isArray(data.page) ? data.page : null;
}
