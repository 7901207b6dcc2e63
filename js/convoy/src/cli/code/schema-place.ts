/** Finds the table or field that a schema problem speaks of in the text of the schema. */

/** Where `path` (`messages`, `messages.body`, `messages.by_room`) is written after `defineSchema(`; `null` where it is not. */
export function placeOfProblem(text: string, path: string): { readonly at: number; readonly length: number } | null {
  const [table = '', ...fields] = path.split('.');
  const from = Math.max(text.search(/\bdefineSchema\s*\(/), 0);
  const listed = find(text, table, from, text.length);
  if (listed === null) return null;
  // Listed by its name alone, it is made in a statement of its own.
  const isShort = /^['"]?\s*(?:,|\}|$)/.test(text.slice(listed + table.length));
  const made = isShort ? new RegExp(`\\b(?:const|let|var)\\s+${quoted(table)}\\b`).exec(text) : null;
  const start = made === null ? listed : made.index + made[0].length - table.length;
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

/** A key, or a name in quotes, between two places. */
function find(text: string, name: string, from: number, to: number): number | null {
  const patterns = [`(?<![\\w$.])${quoted(name)}(?=['"]?\\s*:)`, `(?<=['"])${quoted(name)}(?=['"])`];
  const short = `(?<![\\w$.])${quoted(name)}(?=\\s*[,}])`;
  for (const pattern of [...patterns, short]) {
    const match = new RegExp(pattern).exec(text.slice(from, to));
    if (match) return from + match.index;
  }
  return null;
}

/** Where the value that begins here ends: at a comma or a closing bracket of what it is in. */
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

function quoted(word: string): string {
  return word.replace(/[^\w\s]/g, '\\$&');
}
