/** The argument of queries that return pages, for `usePaginatedQuery`. */
import * as z from 'zod';

/**
 * The input `paginationOpts` of a query whose result is a page. Pass its value to `.paginate()`:
 * `input: { paginationOpts }`, and `ctx.db.query('messages').paginate(paginationOpts)`.
 */
export const paginationOpts = /* @__PURE__ */ z.object({
  numItems: /* @__PURE__ */ z.number(),
  cursor: /* @__PURE__ */ z.nullable(/* @__PURE__ */ z.string()),
  endCursor: /* @__PURE__ */ z.optional(/* @__PURE__ */ z.nullable(/* @__PURE__ */ z.string())),
});
