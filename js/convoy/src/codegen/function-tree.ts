/**
 * Arranges functions as the tree of `api`. Two functions, or a function and a folder of functions, of the same name are
 * an error that names both. Pure.
 */

/** A folder of functions; keys are sorted by name. */
export interface FunctionFolder<F> {
  readonly [segment: string]: FunctionFolder<F> | FunctionLeaf<F>;
}

export class FunctionLeaf<F> {
  constructor(readonly value: F) {}
}

/** Two functions, or a function and a folder, have the same name. */
export class NameCollision extends Error {
  override readonly name = 'NameCollision';
}

interface Named {
  readonly name: string;
  /** The module of the function, for messages. */
  readonly module: string;
}

/** Arranges functions by their names. Throws a NameCollision. */
export function arrangeFunctions<F extends Named>(functions: readonly F[]): FunctionFolder<F> {
  type Folder = { [segment: string]: Folder | FunctionLeaf<F> };
  const folder = (): Folder => Object.create(null);
  const root = folder();
  const sorted = [...functions].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const each of sorted) {
    const segments = each.name.split('.');
    const last = segments.pop() ?? '';
    let at = root;
    for (const segment of segments) {
      const next = at[segment] ?? folder();
      if (next instanceof FunctionLeaf) throw new NameCollision(collision(next.value, each));
      at[segment] = next;
      at = next;
    }
    const existing = at[last];
    if (existing) {
      throw new NameCollision(collision(existing instanceof FunctionLeaf ? existing.value : firstOf(existing), each));
    }
    at[last] = new FunctionLeaf(each);
  }
  return root;
}

function collision(one: Named, other: Named): string {
  const which = `${one.name} (in ${one.module}) and ${other.name} (in ${other.module})`;
  return one.name === other.name
    ? `Two functions have the same name: ${which}. Rename one of them.`
    : `A function and a folder of functions have the same name: ${which}. Rename one of them.`;
}

function firstOf<F>(folder: FunctionFolder<F>): F {
  const first = Object.values(folder)[0];
  if (!first) throw new Error('A folder of functions is never empty.');
  return first instanceof FunctionLeaf ? first.value : firstOf(first);
}
