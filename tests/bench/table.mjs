// Formats numbers and tables as Markdown that is also readable unrendered.

/** The first column is text, the others are numbers. */
export function table(head, rows) {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((cells) => cells[column].length), 3));
  const line = (cells) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join(' | ')} |`;
  const rule = widths.map((width, place) => (place === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

export function whole(number) {
  return Math.round(number).toLocaleString('en-US');
}

/** @param {number} micros */
export function ms(micros, digits = 1) {
  return (micros / 1000).toFixed(digits);
}

export function times(ratio) {
  return `${ratio.toFixed(2)}×`;
}
