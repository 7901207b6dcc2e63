// Writes the tables of docs/limits.md from the definitions in the code: those that can be configured are in
// crates/convoy/src/limits.rs, and of the fixed ones (fixed-limits.mjs) each constant is read where it is used.
//
//   node scripts/limits-reference.mjs
//
// `npm run check` compares the page with the code, and tests/limits.test.mjs knows a test for each limit.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FIXED } from './fixed-limits.mjs';
import { root } from './run.mjs';

export const limitsFile = join(root, 'docs/limits.md');
const DEFINITIONS = 'crates/convoy/src/limits.rs';
const OPTIONS = 'js/convoy/src/server/options.ts';

/** The limits in the code, with their values. Throws where a definition has another form than it must have. */
export async function limitsInCode() {
  const fixed = Object.entries(FIXED).flatMap(([group, rows]) =>
    rows.map(([text, file, constant, unit, error]) => ({ group, text, file, constant, unit, error })),
  );
  return { configurable: await configurable(), fixed: await Promise.all(fixed.map(withValue)) };
}

async function configurable() {
  const source = await read(DEFINITIONS);
  const [, body] = /^limits! \{\n([\s\S]*?)^\}$/m.exec(source) ?? fail(`${DEFINITIONS} has no limits! { … }`);
  const definition = /((?: {4}\/\/\/ .*\n)+) {4}(\w+): \w+ = ([^,]+), "(\w*)", [^"]+, "([^"]+)";\n/g;
  const found = [...body.matchAll(definition)].map(([whole, doc, name, value, unit, error]) => {
    const text = doc
      .replace(/ *\/\/\/ /g, ' ')
      .replace(/\s+/g, ' ')
      .trim()
      .replace(/\.$/, '');
    return { whole, name: camelCase(name), text, value: shown(evaluate(value), unit), error };
  });
  const rest = found.reduce((left, { whole }) => left.replace(whole, ''), body).trim();
  if (rest !== '') fail(`${DEFINITIONS} has a definition in another form:\n${rest}`);
  const options = await read(OPTIONS);
  for (const { name } of found) {
    if (!options.includes(`  readonly ${name}?: number;`)) fail(`ConvoyLimits in ${OPTIONS} lacks ${name}.`);
  }
  return found.map(({ whole, ...limit }) => limit);
}

async function withValue(limit) {
  const source = await read(limit.file);
  const declared = declarationIn(source, limit.constant) ?? fail(`${limit.file} has no constant ${limit.constant}.`);
  const seconds = /^Duration::from_secs\((\d+)\)$/.exec(declared);
  const value =
    seconds === null ? shown(evaluate(declared, source), limit.unit) : shown(Number(seconds[1]) * 1_000, 'ms');
  return { ...limit, value };
}

function declarationIn(source, constant) {
  return new RegExp(`\\bconst ${constant}(?:: [\\w<>]+)? = ([^;]+);`).exec(source)?.[1] ?? null;
}

/** The page with tables of these limits. */
export async function limitsPage() {
  const { configurable, fixed } = await limitsInCode();
  const tables = {
    configurable: [
      '| limit | default | name | error |\n|---|---|---|---|',
      ...configurable.map(
        ({ text, value, name, error }) => `| ${lowerFirst(text)} | ${value} | \`${name}\` | ${error} |`,
      ),
    ],
    fixed: Object.keys(FIXED).flatMap((group, at) => [
      `${at === 0 ? '' : '\n'}### ${group}\n\n| limit | value | error |\n|---|---|---|`,
      ...fixed
        .filter((limit) => limit.group === group)
        .map(({ text, value, error }) => `| ${text} | ${value} | ${error} |`),
    ]),
  };
  let page = await readFile(limitsFile, 'utf8');
  for (const [name, lines] of Object.entries(tables)) {
    const place = new RegExp(`(<!-- ${name}: [^>]*-->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!place.test(page)) fail(`docs/limits.md has no place for the table of ${name} limits.`);
    page = page.replace(place, (_, begin, end) => `${begin}\n${lines.join('\n')}\n\n${end}`);
  }
  return page;
}

/** Throws unless the page has the limits of the code. */
export async function checkLimits() {
  if ((await limitsPage()) === (await readFile(limitsFile, 'utf8'))) return;
  fail('docs/limits.md does not list the limits of the code: run node scripts/limits-reference.mjs.');
}

const read = (file) => readFile(join(root, file), 'utf8');

/** The value of a constant: a number, or a product or a shift of numbers and of other constants of `source`. */
function evaluate(text, source = '') {
  const [first, ...rest] = text.trim().split(' ');
  const operand = (word) => {
    if (/^\d[\d_]*$/.test(word)) return Number(word.replaceAll('_', ''));
    const declared = /^[A-Z_]+$/.test(word) ? declarationIn(source, word) : null;
    return evaluate(declared ?? fail(`${text} is no number, shift or product.`), source);
  };
  let value = operand(first);
  for (let at = 0; at < rest.length; at += 2) {
    const by = operand(rest[at + 1] ?? '');
    if (rest[at] !== '*' && rest[at] !== '<<') fail(`${text} is no number, shift or product.`);
    value = rest[at] === '*' ? value * by : value * 2 ** by;
  }
  return value;
}

function shown(value, unit) {
  const count = (number, name) => `${number.toLocaleString('en-US')}${name}`;
  if (unit === '') return count(value, '');
  if (unit === 'bytes') return value % 2 ** 20 === 0 ? count(value / 2 ** 20, ' MiB') : count(value / 2 ** 10, ' KiB');
  if (unit !== 'ms') return fail(`${unit} is no unit.`);
  if (value % 86_400_000 === 0) return count(value / 86_400_000, ' days');
  if (value % 3_600_000 === 0) return count(value / 3_600_000, ' h');
  if (value % 60_000 === 0) return count(value / 60_000, ' min');
  return value % 1_000 === 0 ? count(value / 1_000, ' s') : count(value, ' ms');
}

const camelCase = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

/** The texts are sentences in the code, and cells in the table. */
function lowerFirst(text) {
  return /^[A-Z][a-z]/.test(text) ? text[0].toLowerCase() + text.slice(1) : text;
}

function fail(message) {
  throw new Error(message);
}

if (process.argv[1] === import.meta.filename) await writeFile(limitsFile, await limitsPage());
