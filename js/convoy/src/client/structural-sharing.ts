/**
 * Structural sharing: keeps the identity of the parts that are equal between two results, so that only changed parts
 * render again.
 *
 * Both values are results of `JSON.parse`. The later one is owned by the caller and changed in place.
 */

/** `after`, with every part that equals its counterpart in `before` replaced by it; `before` itself where all does. */
export function replaceEqualDeep(before: unknown, after: unknown): unknown {
  if (Array.isArray(before) && Array.isArray(after)) return shareList(before, after);
  return isObject(before) && isObject(after) ? shareObject(before, after) : after;
}

function shareList(before: readonly unknown[], after: unknown[]): unknown {
  const byId = new Map(before.map((element) => [idOf(element), element]));
  let same = before.length === after.length;
  for (const [index, element] of after.entries()) {
    const id = idOf(element);
    // A document is compared by its id, at any index; other elements, and a document that the list contains more than
    // once, by their index.
    const atIndex = before[index];
    after[index] = replaceEqualDeep(id === idOf(atIndex) ? atIndex : byId.get(id), element);
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
    if (has) after[name] = replaceEqualDeep(before[name], after[name]);
    same &&= has && after[name] === before[name];
  }
  return same ? before : after;
}

type JsonObject = Record<string, unknown>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A document's id; `undefined` for any other value. */
function idOf(element: unknown): unknown {
  return isObject(element) && typeof element.id === 'string' ? element.id : undefined;
}
