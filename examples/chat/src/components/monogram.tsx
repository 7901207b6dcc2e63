/** A person's initials on a colour of their own. Decorative: the name is always beside it, or in a label. */
import type { CSSProperties } from 'react';

export function Monogram({ name }: { readonly name: string }) {
  return (
    <span className="monogram" style={colourOf(name)} aria-hidden="true">
      {initialsOf(name)}
    </span>
  );
}

/** Sets `--hue`, which the styles turn into colours that suit light and dark. */
export function colourOf(name: string): CSSProperties {
  // FNV-1a, so that names that differ in one letter get different colours.
  let hash = 0x811c9dc5;
  for (const letter of name) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return { '--hue': hash % 360 } as CSSProperties;
}

function initialsOf(name: string): string {
  const words = name.split(/\s+/).filter(Boolean);
  const letters =
    words.length > 1 ? [words[0], words.at(-1)].map((word) => [...(word ?? '')][0]) : [...name].slice(0, 2);
  return letters.join('').toUpperCase();
}
