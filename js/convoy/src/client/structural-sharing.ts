/**
 * Keeps the identity of what did not change between two results, so that a screen draws only what differs.
 *
 * Both are what `JSON.parse` gives, and the later one is ours: it is changed in place.
 */

/** `after`, with every part that equals its counterpart in `before` replaced by it; `before` itself where all does. */
export function share(before: unknown, after: unknown): unknown {
  if (Array.isArray(before) && Array.isArray(after)) return shareList(before, after);
  return isObject(before) && isObject(after) ? shareObject(before, after) : after;
}

function shareList(before: readonly unknown[], after: unknown[]): unknown {
  const byId = new Map(before.map((element) => [idOf(element), element]));
  let same = before.length === after.length;
  for (const [index, element] of after.entries()) {
    const id = idOf(element);
    // A document keeps its identity wherever in the list it has moved to; anything else, at its place. So does one that
    // is in the list more than once.
    const there = before[index];
    after[index] = share(id === idOf(there) ? there : byId.get(id), element);
    same &&= after[index] === before[index];
  }
  return same ? before : after;
}

function shareObject(before: JsonObject, after: JsonObject): unknown {
  const names = Object.keys(after);
  let same = names.length === Object.keys(before).length;
  for (const name of names) {
    // Own members only: a member may be called `__proto__`.
    const has = Object.hasOwn(before, name);
    if (has) after[name] = share(before[name], after[name]);
    same &&= has && after[name] === before[name];
  }
  return same ? before : after;
}

type JsonObject = Record<string, unknown>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What names a document; `undefined` for anything that is none. */
function idOf(element: unknown): unknown {
  return isObject(element) && typeof element.id === 'string' ? element.id : undefined;
}
