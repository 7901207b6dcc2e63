/** Values as the panel displays them. */

/** A time of today: `14:03:27.120`. */
export function timeOf(at: number): string {
  if (at === 0) return '–';
  const date = new Date(at);
  const two = (part: number) => String(part).padStart(2, '0');
  const ms = String(date.getMilliseconds()).padStart(3, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}

/** A size in characters of JSON, which for most text are bytes. */
export function sizeOf(chars: number): string {
  if (chars === 0) return '–';
  if (chars < 1_000) return `${chars} B`;
  return chars < 1_000_000 ? `${(chars / 1_000).toFixed(1)} kB` : `${(chars / 1_000_000).toFixed(1)} MB`;
}

/** The beginning of a value as indented JSON. */
export function previewOf(value: unknown): string {
  const text = JSON.stringify(value, null, 2);
  return text.length > 4_000 ? `${text.slice(0, 4_000)}\n… ${sizeOf(text.length - 4_000)} more` : text;
}
