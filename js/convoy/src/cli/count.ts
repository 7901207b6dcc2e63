/** `1 function`, `2 functions`; `several` where an s does not do. */
export function count(n: number, noun: string, several = `${noun}s`): string {
  return `${n} ${n === 1 ? noun : several}`;
}
