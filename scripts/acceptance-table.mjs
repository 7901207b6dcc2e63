// Reads the list of acceptance tests, and describes their results. Pure: takes and returns text.

/**
 * `modules` are those of the Rust suite, `files` have TypeScript, and `binaries` are Rust tests of their own.
 * @typedef {{ number: string, what: string, test: string, modules: string[], files: string[], binaries: string[], quick: string, full: string, control: string }} Row
 * @typedef {{ name: string, passed: boolean }} Outcome
 * @typedef {Row & { outcomes: Outcome[], seeds: string[], seconds: number, at: string, commit: string }} Result
 */

const BEGIN = '<!-- The last long run, written by scripts/guarantees.mjs -->';
const END = '<!-- End of the last long run -->';

/** The rows of the table in docs/internals/acceptance.md. @returns {Row[]} */
export function acceptanceRows(markdown) {
  const lines = markdown.split('\n');
  const start = lines.findIndex((line) => /^\| no\. \| what is tested \|/.test(line));
  if (start < 0) throw new Error('The page has no table of acceptance tests.');
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'));
  return lines.slice(start + 2, end).map((line) => {
    const [number, what, test, quick, full, control] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    const paths = [...test.matchAll(/`([^`]+)`/g)].map(([, path]) => path);
    const files = paths.filter((path) => path.endsWith('.ts'));
    const rust = paths.filter((path) => !path.endsWith('.ts'));
    const binaries = rust.flatMap((path) => /^crates\/convoy\/tests\/(\w+)\/$/.exec(path)?.[1] ?? []);
    const modules = rust
      .filter((path) => !path.startsWith('crates/'))
      .map((path) => path.replace(/\.rs$|\/$/, '').replaceAll('/', '::'));
    return { number, what, test: paths.join(', '), modules, files, binaries, quick, full, control };
  });
}

/** Which Rust modules a row runs: its own, without those that another row names inside of them. */
export function modulesOf({ modules }, rows) {
  const others = rows.flatMap((row) => row.modules).filter((module) => !modules.includes(module));
  const skip = others.filter((other) => modules.some((module) => other.startsWith(`${module}::`)));
  return { include: modules, skip: skip.map((module) => `${module}::`) };
}

/** The outcomes that a Rust test program prints. @returns {Outcome[]} */
export function outcomesOf(text) {
  // What a test prints to standard error may come between its name and its outcome.
  const names = [...text.matchAll(/^test (\S+) \.\.\.(?! ignored)/gm)].map(([, name]) => name);
  const failed = new Set([...text.matchAll(/^ {4}(\S+::\S+)$/gm)].map(([, name]) => name));
  const ended = /^test result: /m.test(text);
  // A test that lacks what it needs says so and ends.
  const skipped = new Set([...text.matchAll(/(?:^|[.\s])([\w:]+): skipped: /gm)].map(([, name]) => name));
  return names.map((name) => ({ name, passed: ended && !failed.has(name) && !skipped.has(name) }));
}

/** The seeds that tests have printed. */
export function seedsIn(text) {
  return [...new Set([...text.matchAll(/(?:seed |CONVOY_TEST_SEED=)(\d+)/g)].map(([, seed]) => seed))];
}

/** The table of results. @param {Result[]} results */
export function resultsTable(results) {
  const rows = results.map(({ number, what, test, full, outcomes, seeds, seconds, at, commit, control }) => {
    const isControl = ({ name }) => /(^|:)control|control:|a control/i.test(name);
    const [controls, tests] = [outcomes.filter(isControl), outcomes.filter((outcome) => !isControl(outcome))];
    const share = (some) => `${some.filter(({ passed }) => passed).length} of ${some.length}`;
    const detected = controls.length === 0 ? control : `${share(controls)} detected`;
    const cells = [number, what, test, full, seeds.join(', ') || '–', `${share(tests)} passed`, detected];
    return `| ${[...cells, duration(seconds), `${at}, ${commit}`].join(' | ')} |`;
  });
  return [
    '| no. | tested | test | size | seed | result | control | time | run |',
    '|---|---|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** The page with this table. */
export function withTable(page, table) {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/guarantees.md lacks ${BEGIN} and ${END}.`);
  return `${page.slice(0, begin + BEGIN.length)}\n\n${table}\n\n${page.slice(end)}`;
}

function duration(seconds) {
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
