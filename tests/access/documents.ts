/** Documents of the tables of `program.ts`. */

export const NOTE = { team: null, rank: 1 };

let slugs = 0;

/** A note of `owner` with a slug of its own. */
export const noteOf = (owner: string) => ({ ...NOTE, owner, slug: `slug-${slugs++}` });

export const taskOf = (owner: string) => ({ owner, rank: 1 });
