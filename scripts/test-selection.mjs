// Selects the targets that `npm test -- <filter>` builds and runs. Pure: takes the
// texts of the test files. It may select too many files, never too few; cargo and
// Vitest then filter and count tests by name.

/**
 * @typedef {{ path: string, text: string }} TestFile `path` is relative to the root, with `/`
 * @typedef {{ packages: string[], targets: string[], pooler: number, others: number }} RustSelection
 * @typedef {{ whole: string[], named: string[] }} TypeScriptSelection
 */

/** Matches the path or name of Rust tests that need PgBouncer. */
export const needsPooler = /pooler/;
/** Matches the file names of TypeScript tests that need Chromium. */
export const needsChromium = /\.browser\.test\.tsx?$/;

/**
 * The cargo targets that contain a test that one of the filters may match.
 *
 * @param {TestFile[]} files Rust sources
 * @param {string[]} filters
 * @returns {RustSelection}
 */
export function selectRust(files, filters) {
  const packages = new Set();
  const targets = new Set();
  let pooler = 0;
  let others = 0;
  for (const { path, text } of files) {
    const location = locationOf(path);
    if (location === undefined) continue;
    const matching = testNames(text)
      .map((name) => `${location.modules}::${name}`)
      .filter((name) => filters.some((filter) => filter.split('::').every((piece) => name.includes(piece))));
    if (matching.length === 0) continue;
    packages.add(location.package);
    for (const each of location.target) targets.add(each);
    for (const name of matching) needsPooler.test(name) ? pooler++ : others++;
  }
  return { packages: [...packages], targets: [...targets], pooler, others };
}

/**
 * The test files whose path contains one of the filters, and those that may contain a test whose name does.
 *
 * @param {TestFile[]} files
 * @param {string[]} filters
 * @returns {TypeScriptSelection}
 */
export function selectTypeScript(files, filters) {
  const whole = files.filter(({ path }) => filters.some((filter) => path.toLowerCase().includes(filter.toLowerCase())));
  const named = files.filter((file) => !whole.includes(file) && filters.some((filter) => mayName(file, filter)));
  return { whole: whole.map(({ path }) => path), named: named.map(({ path }) => path) };
}

/**
 * Whether the name of a test in this file may contain the filter. A name is composed of the titles of groups and tests
 * and of the rows of tables, so each word is looked for by itself, wherever a line has a quote or a bracket before it.
 */
function mayName({ text }, filter) {
  const quoted = (text.match(/['"`[].*/g) ?? []).map((rest) => rest.replaceAll('\\', ''));
  return filter.split(/\s+/).every((word) => quoted.some((rest) => rest.includes(word)));
}

/** Whether these files need the engine's addon: all of `tests/`, and tests that start the real `convoy` program. */
export function needsEngine(files) {
  return files.some(({ path, text }) => path.startsWith('tests/') || /program\.test-kit|CONVOY_NATIVE_PATH/.test(text));
}

/** A pattern for Vitest's `-t` that matches any of the filters. */
export function namePattern(filters) {
  return filters.map((filter) => filter.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')).join('|');
}

/** The cargo target and module of a Rust file: `crates/convoy/tests/engine/http.rs` is module `http` of the target `engine`. */
function locationOf(path) {
  const [crates, name, area, ...rest] = path.replace(/\.rs$/, '').split('/');
  if (crates !== 'crates' || (area !== 'src' && area !== 'tests')) return undefined;
  const binary = area === 'src' && rest[0] === 'bin';
  const target = area === 'tests' ? ['--test', rest[0]] : binary ? ['--bin', rest[1]] : ['--lib'];
  const inside = area === 'tests' ? rest.slice(1) : binary ? rest.slice(2) : rest;
  const modules = inside.filter((each) => !['lib', 'main', 'mod'].includes(each));
  return { package: name, target: [target.join('=')], modules: modules.join('::') };
}

/** The test functions of a file, each prefixed with all inline modules of the file. */
function testNames(text) {
  const modules = [...text.matchAll(/^\s*mod (\w+) \{/gm)].map(([, name]) => name).join('::');
  const functions = text.matchAll(/#\[(?:\w+::)*test\b[^\]]*\](?:\s*#\[[^\]]*\]|\s*\/\/.*)*\s*(?:async )?fn (\w+)/g);
  return [...functions].map(([, name]) => `${modules}::${name}`);
}
