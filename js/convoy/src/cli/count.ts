/** `1 function`, `2 functions`; `plural` where the plural is irregular. */
export function count(n: number, noun: string, plural = `${noun}s`): string {
  return `${n} ${n === 1 ? noun : plural}`;
}
