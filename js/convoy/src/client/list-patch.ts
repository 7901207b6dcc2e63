/**
 * Applies a `rows` message: a list, or the `page` of an object, as runs of the one held and elements that are new.
 * Elements taken over stay the same objects.
 */
import type { LiveMessageOf, Piece } from '../protocol/frames.js';

/** The result that the message makes of `held`; `null` where it does not fit what is held. */
export function withRows(held: unknown, { rows, rest }: Pick<LiveMessageOf<'rows'>, 'rows' | 'rest'>): unknown {
  if (rest === undefined) return Array.isArray(held) ? listOf(held, rows) : null;
  const page = pageOf(held);
  const list = page === null ? null : listOf(page, rows);
  return list === null ? null : { ...rest, page: list };
}

/** As much of `data` as `withRows` looks at, with a list of its own. */
export function listIn(data: unknown): unknown {
  if (Array.isArray(data)) return data.slice();
  const page = pageOf(data);
  return page === null ? null : { page: page.slice() };
}

function listOf(held: readonly unknown[], pieces: readonly Piece[]): unknown[] | null {
  const list: unknown[] = [];
  for (const piece of pieces) {
    if ('row' in piece) {
      list.push(piece.row);
    } else {
      const [start, count] = piece;
      if (start + count > held.length) return null;
      // Not spread into `push`: a run may be longer than a call may have arguments.
      for (let at = start; at < start + count; at += 1) list.push(held[at]);
    }
  }
  return list;
}

function pageOf(held: unknown): readonly unknown[] | null {
  if (typeof held !== 'object' || held === null || !('page' in held)) return null;
  return Array.isArray(held.page) ? held.page : null;
}
