// Draws the cost of a write by the number of unrelated live queries, as a self-contained
// SVG that is readable on light and dark pages.

const WIDTH = 720;
const HEIGHT = 400;
const PLOT = { left: 64, right: 580, top: 72, bottom: 328 };
/** The position of zero on the logarithmic axis, in powers of ten left of 1. */
const ZERO = -0.75;

const SERIES = [
  { key: 'delay', className: 'delay', label: ['sending the write →', 'its frame, p50'] },
  { key: 'serverCpu', className: 'cpu', label: ['processor time of', 'the server'] },
];

/**
 * @param {{ queries: number, delay: number, serverCpu: number }[]} points microseconds
 * @param {string} caption the measurement and the machine
 */
export function drawCurve(points, caption) {
  const measured = SERIES.filter(({ key }) => points.every((point) => point[key] !== null));
  const max = Math.max(...measured.flatMap(({ key }) => points.map((point) => point[key] / 1000)));
  const step = niceStep(max / 4);
  const top = Math.ceil((max * 1.1) / step) * step;
  const decades = Math.log10(Math.max(...points.map(({ queries }) => queries), 10));
  const x = (queries) => {
    const power = queries === 0 ? ZERO : Math.log10(queries);
    return PLOT.left + ((power - ZERO + 0.25) / (decades - ZERO + 0.5)) * (PLOT.right - PLOT.left);
  };
  const y = (millis) => PLOT.bottom - (millis / top) * (PLOT.bottom - PLOT.top);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(caption)}">`,
    STYLE,
    `<rect class="page" width="${WIDTH}" height="${HEIGHT}"/>`,
    text(PLOT.left - 40, 28, 'What one write costs beside live queries it does not concern', 'title'),
    text(PLOT.left - 40, 48, caption, 'note'),
    ...yAxis(top, step, y),
    ...xAxis(decades, x),
    ...measured.flatMap((series) => drawSeries(series, points, { x, y })),
    ...labels(measured, points, y),
    '</svg>\n',
  ].join('\n');
}

function yAxis(top, step, y) {
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, n) => n * step);
  return ticks.flatMap((tick) => [
    `<line class="${tick === 0 ? 'axis' : 'grid'}" x1="${PLOT.left}" x2="${PLOT.right}" y1="${at(y(tick))}" y2="${at(y(tick))}"/>`,
    text(PLOT.left - 8, y(tick) + 4, `${tick.toFixed(digits)}${tick === 0 ? '' : ' ms'}`, 'tick end'),
  ]);
}

function xAxis(decades, x) {
  const middle = (PLOT.left + PLOT.right) / 2;
  // An axis break, since a logarithmic scale has no zero.
  const gap = (x(0) + x(1)) / 2;
  const ticks = [0, ...Array.from({ length: Math.floor(decades) + 1 }, (_, power) => 10 ** power)];
  return [
    `<path class="gap" d="M${at(gap - 5)} ${PLOT.bottom + 5} l4 -10 M${at(gap + 1)} ${PLOT.bottom + 5} l4 -10"/>`,
    ...ticks.flatMap((tick) => [
      `<line class="axis" x1="${at(x(tick))}" x2="${at(x(tick))}" y1="${PLOT.bottom}" y2="${PLOT.bottom + 5}"/>`,
      text(x(tick), PLOT.bottom + 20, tick.toLocaleString('en-US'), 'tick middle'),
    ]),
    text(middle, PLOT.bottom + 46, 'live queries that the write does not concern (logarithmic)', 'note middle'),
  ];
}

function drawSeries({ key, className }, points, { x, y }) {
  const places = points.map((point) => `${at(x(point.queries))},${at(y(point[key] / 1000))}`);
  return [
    `<polyline class="line ${className}" points="${places.join(' ')}"/>`,
    ...points.map((point) => {
      const label = `${point.queries.toLocaleString('en-US')} live queries: ${(point[key] / 1000).toFixed(2)} ms`;
      const [cx, cy] = [at(x(point.queries)), at(y(point[key] / 1000))];
      return `<circle class="dot ${className}" cx="${cx}" cy="${cy}" r="4"><title>${label}</title></circle>`;
    }),
  ];
}

/** Labels at the ends of the lines, pushed apart where they would overlap. */
function labels(series, points, y) {
  const height = 52;
  const placed = series
    .map((each) => ({ ...each, last: points.at(-1)[each.key] / 1000 }))
    .map((each) => ({ ...each, top: y(each.last) - 8 }))
    .sort((a, b) => a.top - b.top);
  for (let n = 1; n < placed.length; n += 1) placed[n].top = Math.max(placed[n].top, placed[n - 1].top + height);
  const overflow = (placed.at(-1)?.top ?? 0) + height - 12 - PLOT.bottom;
  for (const each of placed) each.top -= Math.max(overflow, 0);
  return placed.flatMap(({ className, label, last, top }) => [
    text(PLOT.right + 12, top, `${last.toFixed(last < 10 ? 2 : 1)} ms`, `value ${className}`),
    ...label.map((line, n) => text(PLOT.right + 12, top + 15 * (n + 1), line, 'tick')),
  ]);
}

/** The smallest step of 1, 2 or 5 times a power of ten that is at least `min`. */
function niceStep(min) {
  const power = 10 ** Math.floor(Math.log10(min));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= min);
}

const at = (number) => number.toFixed(1);

function text(x, y, content, className) {
  return `<text class="${className}" x="${at(x)}" y="${at(y)}">${escaped(content)}</text>`;
}

function escaped(content) {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

const STYLE = `<style>
  .page { fill: #ffffff }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
  .title { font-size: 16px; font-weight: 600; fill: #1f2328 }
  .value { font-size: 15px; font-weight: 600 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .grid { stroke: #d0d7de; stroke-width: 1 } .axis, .gap { stroke: #57606a; stroke-width: 1; fill: none }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
  .dot { stroke: #ffffff; stroke-width: 1.5 }
  .line.delay { stroke: #0969da } .dot.delay, .value.delay { fill: #0969da }
  .line.cpu { stroke: #bc4c00 } .dot.cpu, .value.cpu { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 }
    text { fill: #8d96a0 } .title { fill: #e6edf3 }
    .grid { stroke: #30363d } .axis, .gap { stroke: #8d96a0 } .dot { stroke: #0d1117 }
    .line.delay { stroke: #4493f8 } .dot.delay, .value.delay { fill: #4493f8 }
    .line.cpu { stroke: #f0883e } .dot.cpu, .value.cpu { fill: #f0883e }
  }
</style>`;
