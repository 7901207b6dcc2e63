/** Suggests a name for a misspelt one. */

/** The name with the smallest edit distance from `name`, which is at most `within`; `null` if none is close enough. */
export function nearest(
  name: string,
  names: Iterable<string>,
  within = Math.max(2, Math.floor(name.length / 3)),
): string | null {
  let best: string | null = null;
  let smallest = within + 1;
  const wanted = name.toLowerCase();
  for (const other of names) {
    const lower = other.toLowerCase();
    const distance = lower.split('.').at(-1) === wanted ? 0 : editDistance(wanted, lower);
    if (distance < smallest) [best, smallest] = [other, distance];
  }
  return best;
}

/** The edit distance (optimal string alignment): insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= one.length; i++) {
    rows.push([i]);
    for (let j = 1; j <= other.length; j++) {
      const changed = at(i - 1, j - 1) + (one[i - 1] === other[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      const fewest = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, changed, swapped ? at(i - 2, j - 2) + 1 : changed);
      rows[i]?.push(fewest);
    }
  }
  return at(one.length, other.length);
}
