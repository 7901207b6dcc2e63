/**
 * Parses JSON text to the same value on every Node.
 *
 * V8 since 12.8, which Node 24 and 26 have, may read a key with an escape as another one that it has seen: after an object
 * with the key `"\\"`, it reads `"\n"` as `"\\"` (https://github.com/nodejs/node/issues/63785). A document that is read and
 * stored again would change. There, such keys are parsed in a form without escapes, and then get their own.
 */

/** Begins a key in the form without escapes: its code units follow in hexadecimal digits. A private character. */
const MARK = '\ue000';

const BACKSLASH = 92;
const COLON = 58;

const isFaulty = misreadsKeys();

/** Like `JSON.parse`, whose errors it throws. */
export function parseJson(text: string): unknown {
  return isFaulty && text.includes('\\') ? parseWithoutEscapedKeys(text) : JSON.parse(text);
}

/** The same with a detour for keys with escapes; exported for tests, since only some versions need it. */
export function parseWithoutEscapedKeys(text: string): unknown {
  let safe = '';
  let copied = 0;
  for (let start = text.indexOf('"'); start !== -1; ) {
    const end = endOfString(text, start);
    if (end === -1) break;
    const needsMark = text.startsWith(MARK, start + 1) || text.slice(start, end).includes('\\');
    if (needsMark && isKey(text, end)) {
      safe += `${text.slice(copied, start)}"${marked(JSON.parse(text.slice(start, end)))}"`;
      copied = end;
    }
    start = text.indexOf('"', end);
  }
  if (copied === 0) return JSON.parse(text);
  return JSON.parse(safe + text.slice(copied), (_, value: unknown) => withOwnKeys(value));
}

/** The offset behind the string that begins at `start`; -1 if it does not end. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let first = quote;
    while (text.charCodeAt(first - 1) === BACKSLASH) first--;
    if ((quote - first) % 2 === 0) return quote + 1;
  }
  return -1;
}

/** Whether a colon follows the string that ends at `end`. */
function isKey(text: string, end: number): boolean {
  let at = end;
  while (' \t\n\r'.includes(text.charAt(at)) && at < text.length) at++;
  return text.charCodeAt(at) === COLON;
}

function marked(key: string): string {
  let digits = '';
  for (let at = 0; at < key.length; at++) digits += key.charCodeAt(at).toString(16).padStart(4, '0');
  return MARK + digits;
}

/** An object with its own keys in place of marked ones; any other value as it is. */
function withOwnKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  if (!Object.keys(value).some((key) => key.startsWith(MARK))) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [ownKey(key), member]));
}

function ownKey(key: string): string {
  if (!key.startsWith(MARK)) return key;
  const units = key.slice(MARK.length).match(/.{4}/g) ?? [];
  return units.map((digits) => String.fromCharCode(Number.parseInt(digits, 16))).join('');
}

function misreadsKeys(): boolean {
  JSON.parse('{"convoy":[],"\\\\":0}');
  return Object.keys(JSON.parse('{"convoy":1,"\\n":0}')).includes('\\');
}
