/** Finds the table or field of a schema problem in the source text of the schema. */

/**
 * Finds `path` (`messages`, `messages.body`, `messages.by_room`) after `defineSchema(`; `null` if it does not occur
 * there.
 */
export function locateProblem(text: string, path: string): { readonly at: number; readonly length: number } | null {
  const [table = '', ...fields] = path.split('.');
  const from = Math.max(text.search(/\bdefineSchema\s*\(/), 0);
  const listed = find(text, table, from, text.length);
  if (listed === null) return null;
  // With shorthand syntax, the table is defined in a separate statement.
  const isShorthand = /^['"]?\s*(?:,|\}|$)/.test(text.slice(listed + table.length));
  const declared = isShorthand ? new RegExp(`\\b(?:const|let|var)\\s+${escapeRegExp(table)}\\b`).exec(text) : null;
  const start = declared === null ? listed : declared.index + declared[0].length - table.length;
  let at = start;
  let length = table.length;
  const end = endOfValue(text, start + table.length);
  for (const field of fields) {
    const inside = find(text, field, at + length, end);
    if (inside === null) break;
    [at, length] = [inside, field.length];
  }
  return { at, length };
}

/** Finds a key, or a name in quotes, between two offsets. */
function find(text: string, name: string, from: number, to: number): number | null {
  const patterns = [`(?<![\\w$.])${escapeRegExp(name)}(?=['"]?\\s*:)`, `(?<=['"])${escapeRegExp(name)}(?=['"])`];
  const shorthand = `(?<![\\w$.])${escapeRegExp(name)}(?=\\s*[,}])`;
  for (const pattern of [...patterns, shorthand]) {
    const match = new RegExp(pattern).exec(text.slice(from, to));
    if (match) return from + match.index;
  }
  return null;
}

/** The end of the value that begins at `from`: the next comma or closing bracket at its own nesting level. */
function endOfValue(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const character = text[at] ?? '';
    if ('([{'.includes(character)) depth += 1;
    else if (')]}'.includes(character)) depth -= 1;
    if (depth < 0 || (depth === 0 && (character === ',' || character === ';'))) return at;
  }
  return text.length;
}

function escapeRegExp(word: string): string {
  return word.replace(/[^\w\s]/g, '\\$&');
}
