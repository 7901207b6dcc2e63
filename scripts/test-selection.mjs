// Chooses what `npm test -- <filter>` builds and runs. Pure: takes the test
// files as texts. It may choose a file too many, never one too few; cargo and
// Vitest decide by the name of each test, and count.

/**
 * @typedef {{ path: string, text: string }} TestFile `path` is relative to the root, with `/`
 * @typedef {{ packages: string[], targets: string[], pooler: number, others: number }} RustSelection
 * @typedef {{ whole: string[], named: string[] }} TypeScriptSelection
 */

/** A Rust test that needs PgBouncer has this in its path or name. */
export const needsPooler = /pooler/;
/** A TypeScript test that needs Chromium is in a file of this name. */
export const needsChromium = /\.browser\.test\.tsx?$/;

/**
 * The cargo targets with a test that one of the filters may match.
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
    const place = placeOf(path);
    if (place === undefined) continue;
    const matching = testNames(text)
      .map((name) => `${place.modules}::${name}`)
      .filter((name) => filters.some((filter) => filter.split('::').every((piece) => name.includes(piece))));
    if (matching.length === 0) continue;
    packages.add(place.package);
    for (const each of place.target) targets.add(each);
    for (const name of matching) needsPooler.test(name) ? pooler++ : others++;
  }
  return { packages: [...packages], targets: [...targets], pooler, others };
}

/**
 * The test files of which one of the filters is part of the path, and those that may hold a test whose name has it.
 *
 * @param {TestFile[]} files
 * @param {string[]} filters
 * @returns {TypeScriptSelection}
 */
export function selectTypeScript(files, filters) {
  const whole = files.filter(({ path }) => filters.some((filter) => path.toLowerCase().includes(filter.toLowerCase())));
  const rest = files.filter((file) => !whole.includes(file));
  let named = rest.filter(({ text }) => filters.some((filter) => titles(text).some((title) => title.includes(filter))));
  if (whole.length + named.length === 0) {
    // A name may be put together: of a group and a test, or from the rows of a table.
    named = rest.filter(({ text }) =>
      filters.some((filter) => filter.split(/\s+/).every((word) => text.includes(word))),
    );
  }
  return { whole: whole.map(({ path }) => path), named: named.map(({ path }) => path) };
}

/** Whether these files need the engine's addon: all of `tests/` does, and what starts the real `convoy` program. */
export function needsEngine(files) {
  return files.some(({ path, text }) => path.startsWith('tests/') || /program\.test-kit|CONVOY_NATIVE_PATH/.test(text));
}

/** Any of these texts, as Vitest's `-t` takes them. */
export function namePattern(filters) {
  return filters.map((filter) => filter.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')).join('|');
}

/** Where cargo has a Rust file: `crates/convoy/tests/engine/http.rs` is module `http` of the target `engine`. */
function placeOf(path) {
  const [crates, name, area, ...rest] = path.replace(/\.rs$/, '').split('/');
  if (crates !== 'crates' || (area !== 'src' && area !== 'tests')) return undefined;
  const binary = area === 'src' && rest[0] === 'bin';
  const target = area === 'tests' ? ['--test', rest[0]] : binary ? ['--bin', rest[1]] : ['--lib'];
  const inside = area === 'tests' ? rest.slice(1) : binary ? rest.slice(2) : rest;
  const modules = inside.filter((each) => !['lib', 'main', 'mod'].includes(each));
  return { package: name, target: [target.join('=')], modules: modules.join('::') };
}

/** The test functions of a file, each with all inline modules of the file before it. */
function testNames(text) {
  const modules = [...text.matchAll(/^\s*mod (\w+) \{/gm)].map(([, name]) => name).join('::');
  const functions = text.matchAll(/#\[(?:\w+::)*test\b[^\]]*\](?:\s*#\[[^\]]*\]|\s*\/\/.*)*\s*(?:async )?fn (\w+)/g);
  return [...functions].map(([, name]) => `${modules}::${name}`);
}

function titles(text) {
  const calls = text.matchAll(/\b(?:test|it|describe)\b[^'"`\n]*(['"`])((?:\\.|(?!\1).)*)\1/g);
  return [...calls].map(([, , title]) => title.replace(/\\(.)/g, '$1'));
}
