/**
 * The allowed dependencies between parts of the sources, and a check of them. Pure: it takes the texts of files, so
 * that a test can pass violations. `ARCHITECTURE.md` gives the reasons for the directions.
 */
import { posix } from 'node:path';

export interface SourceFile {
  /** From the repository's root, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** Each part → the parts it may depend on directly; their dependencies are allowed too. */
type Directions = Readonly<Record<string, readonly string[]>>;

/** Modules of the engine that all others may use, and that use only each other. */
const LEAVES = [
  'change',
  'config',
  'error',
  'events',
  'health',
  'id',
  'key',
  'limits',
  'lossy',
  'failpoints',
  'op',
  'origin',
  'output',
  'rate_limit',
  'schema',
  'supervise',
  'telemetry',
  'time',
  'trusted_proxies',
  'value',
  'write_log',
];

const ENGINE: Directions = {
  fuzzing: ['http'],
  http: ['live'],
  live: ['dispatch', 'feed', 'invalidation'],
  dispatch: ['db', 'read_cache'],
  read_cache: ['invalidation', 'feed'],
  invalidation: ['db'],
  db: ['postgres'],
  feed: ['postgres'],
  transfer: ['postgres'],
  postgres: ['sql'],
  sql: [],
};

const PACKAGE: Directions = {
  vite: ['cli'],
  cli: ['codegen', 'server'],
  codegen: ['schema'],
  // Of `protocol` only the types of references, from which a function's types are inferred.
  server: ['schema', 'protocol', 'sql'],
  sql: ['values'],
  react: ['client'],
  next: ['client'],
  vue: ['client'],
  svelte: ['client'],
  solid: ['client'],
  tanstack: ['client'],
  'tanstack-db': ['client'],
  client: ['protocol'],
  protocol: ['values'],
  schema: ['values'],
  values: [],
  // The root sub-path: the API of schemas and functions. It only re-exports; `BROWSER` checks what it re-exports.
  index: ['schema', 'server'],
};

/** Each crate, and the only folders that may use it. */
const CRATES: Readonly<Record<string, readonly string[]>> = {
  // Telemetry is sent by a client, and received by no one else.
  hyper: ['crates/convoy/src/http/', 'crates/convoy/src/telemetry/otlp.rs', 'crates/convoy-testkit/'],
  hyper_rustls: ['crates/convoy/src/telemetry/otlp.rs'],
  hyper_util: ['crates/convoy/src/http/', 'crates/convoy/src/telemetry/otlp.rs', 'crates/convoy-testkit/'],
  http_body_util: ['crates/convoy/src/http/', 'crates/convoy-testkit/'],
  opentelemetry: ['crates/convoy/src/telemetry/'],
  opentelemetry_http: ['crates/convoy/src/telemetry/'],
  opentelemetry_otlp: ['crates/convoy/src/telemetry/'],
  opentelemetry_prometheus: ['crates/convoy/src/telemetry/'],
  opentelemetry_sdk: ['crates/convoy/src/telemetry/'],
  prometheus: ['crates/convoy/src/telemetry/'],
  sqlx: ['crates/convoy/src/postgres/', 'crates/convoy-testkit/'],
  tar: ['crates/convoy/src/transfer/'],
  napi: ['crates/convoy-node/'],
  napi_derive: ['crates/convoy-node/'],
};

/** Each npm package, and the only parts that may import it. */
const NPM: Readonly<Record<string, readonly string[]>> = {
  // Only their types, so that they fit the adapters of all frameworks.
  '@opentelemetry/api': ['server'],
  '@tanstack/db': ['tanstack-db'],
  '@tanstack/query-core': ['tanstack'],
  // The addons of the platforms.
  '@avvos/convoy-*': ['server'],
  chokidar: ['cli'],
  commander: ['cli'],
  dotenv: ['cli'],
  esbuild: ['cli'],
  next: ['next'],
  picocolors: ['cli', 'vite'],
  react: ['react'],
  'solid-js': ['solid'],
  svelte: ['svelte'],
  // Only its types.
  vite: ['vite'],
  vue: ['vue'],
  zod: ['schema', 'server'],
};

/** Each npm package, and the only folders or files of `js/convoy-auth/src` that may import it. */
const AUTH_NPM: Readonly<Record<string, readonly string[]>> = {
  // Optional: a module that loads it has a sub-path of its own.
  '@auth/core': ['authjs/'],
  '@avvos/convoy': [''],
  'better-auth': ['better-auth-adapter/'],
  jose: ['jwt/', 'presets/options.ts', 'anonymous.ts'],
  zod: ['better-auth-adapter/'],
};

/** Parts that may import Node modules. */
const NODE = ['server', 'codegen', 'cli', 'vite'];

/** The entries that browsers load: no module reached from here may import a Node module. */
const BROWSER = [
  'index.ts',
  'client/index.ts',
  'react/index.ts',
  'react/devtools/index.ts',
  'solid/index.ts',
  'sql/index.ts',
  'svelte/index.ts',
  'tanstack/index.ts',
  'tanstack-db/index.ts',
  'vue/index.ts',
];

const CRATE_SOURCES = 'crates/convoy/src/';
const PACKAGE_SOURCES = 'js/convoy/src/';
const AUTH_SOURCES = 'js/convoy-auth/src/';

/** One sentence per violation, each starting with the file. */
export function breaches(files: readonly SourceFile[]): string[] {
  return [
    ...files.flatMap((file) => rustBreaches(file, files)),
    ...packageBreaches(files),
    ...files.flatMap(authBreaches),
  ];
}

/** Whether the rules apply to a file. They do not apply to tests and test helpers. */
export function isGoverned(path: string): boolean {
  if (/^crates\/[^/]+\/src\/.*\.rs$/.test(path)) return true;
  return (
    [PACKAGE_SOURCES, AUTH_SOURCES].some((sources) => path.startsWith(sources)) &&
    /\.tsx?$/.test(path) &&
    !/\.test(-d|-kit)?\.tsx?$/.test(path)
  );
}

/** The part of the engine or the package that a file belongs to; `null` for other files. */
export function placeOf(path: string): string | null {
  const [sources, ending] = path.endsWith('.rs') ? [CRATE_SOURCES, '.rs'] : [PACKAGE_SOURCES, '.ts'];
  if (!path.startsWith(sources)) return null;
  const [first = ''] = path.slice(sources.length).split('/');
  return first.endsWith(ending) ? first.slice(0, -ending.length) : first;
}

/** All parts that `place` may use, itself included. */
function open(directions: Directions, place: string): Set<string> {
  const found = new Set([place]);
  for (const each of found) for (const next of directions[each] ?? []) found.add(next);
  return found;
}

function rustBreaches({ path, text }: SourceFile, files: readonly SourceFile[]): string[] {
  if (!path.endsWith('.rs')) return [];
  const code = rustCode(text);
  const foreign = Object.entries(CRATES).flatMap(([name, owners]) =>
    new RegExp(`\\b${name}\\b`).test(code) && !owners.some((owner) => path.startsWith(owner))
      ? [`${path} names ${name}, which only ${owners.join(' and ')} may`]
      : [],
  );
  const place = placeOf(path);
  // `engine.rs` composes all parts, and the crate's root re-exports them.
  if (place === null || place === 'engine' || place === 'lib') return foreign;
  const reexports = reexportsIn(files.find((file) => file.path === `${CRATE_SOURCES}lib.rs`)?.text ?? '');
  const allowed = new Set(LEAVES);
  if (!LEAVES.includes(place)) for (const each of open(ENGINE, place)) allowed.add(each);
  // The server may use the engine it serves.
  if (place === 'http') allowed.add('engine');
  const named = new Set(
    [...cratePaths(code), ...cratePathsBySuper(path, code)].map((name) => reexports.get(name) ?? name),
  );
  return [...foreign, ...[...named].filter((name) => !allowed.has(name)).map((name) => `${path} names ${name}`)];
}

/** The text without comments, and with empty strings and characters. */
function rustCode(text: string): string {
  return text.replaceAll(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|r(#*)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"|'(?:\\.|[^'\\\n])'/g,
    '""',
  );
}

/** The paths after `crate::`, and each of `crate::{ … }`. */
function cratePaths(code: string): string[] {
  return [...code.matchAll(/\bcrate\s*::\s*/g)].flatMap(({ index, 0: match }) =>
    namesAt(code.slice(index + match.length)),
  );
}

/** The paths after `super::` where it refers to the crate's root. Skips unit tests, which are one level deeper. */
function cratePathsBySuper(path: string, code: string): string[] {
  const own = code.replace(/#\[cfg\(test\)\]\s*mod tests\b[\s\S]*$/, '');
  const isModuleFile = /^[^/]+(\.rs|\/mod\.rs)$/.test(path.slice(CRATE_SOURCES.length));
  const climb = isModuleFile ? 1 : 2;
  return [...own.matchAll(/(?:\bsuper\s*::\s*)+/g)].flatMap(({ index, 0: match }) =>
    (match.match(/super/g) ?? []).length >= climb ? namesAt(own.slice(index + match.length)) : [],
  );
}

/** The first names of the path, or of every path in the braces, at the start of `code`. */
function namesAt(code: string): string[] {
  const name = /^[A-Za-z_]\w*/.exec(code)?.[0];
  if (name !== undefined) return [name];
  if (!code.startsWith('{')) return [];
  const names: string[] = [];
  let depth = 0;
  for (const [token] of code.matchAll(/[{},]|[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)*/g)) {
    if (token === '{') depth += 1;
    else if (token === '}') depth -= 1;
    else if (token !== ',' && depth === 1) names.push(token.split('::')[0]?.trim() ?? '');
    if (depth === 0) break;
  }
  return names;
}

/** `pub use error::{Code, Failure}` in the crate's root: name → the module it is from. */
function reexportsIn(root: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, module = '', names = ''] of rustCode(root).matchAll(/pub use (\w+)::([^;]+);/g)) {
    for (const [name] of names.matchAll(/\w+/g)) found.set(name, module);
  }
  return found;
}

interface Import {
  readonly specifier: string;
  /** The file of a relative specifier; `null` for packages and Node modules. */
  readonly file: string | null;
}

function packageBreaches(files: readonly SourceFile[]): string[] {
  const imports = new Map<string, readonly Import[]>();
  for (const { path, text } of files) if (path.startsWith(PACKAGE_SOURCES)) imports.set(path, importsIn(path, text));
  const direct = [...imports].flatMap(([path, all]) => all.flatMap((each) => importBreach(path, each)));
  return [...direct, ...BROWSER.flatMap((entry) => browserBreaches(`${PACKAGE_SOURCES}${entry}`, imports))];
}

function importBreach(path: string, { specifier, file }: Import): string[] {
  const place = placeOf(path) ?? '';
  if (file !== null) {
    const target = placeOf(file);
    if (target !== null && open(PACKAGE, place).has(target)) return [];
    return [`${path} imports ${specifier}: ${place} may not name ${target ?? 'what is outside the package'}`];
  }
  if (specifier.startsWith('node:')) {
    return NODE.includes(place) ? [] : [`${path} imports ${specifier}: ${place} must run without Node`];
  }
  const name = nameOf(specifier);
  const owners = NPM[name.replace(/^(@avvos\/convoy-).+/, '$1*')] ?? [];
  return owners.includes(place)
    ? []
    : [`${path} imports ${specifier}, which only ${owners.join(' and ') || 'no part'} may`];
}

/** The package of a specifier. */
function nameOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

/** Imports of the adapters: no package but theirs, and no adapter whose package is optional from outside its folder. */
function authBreaches({ path, text }: SourceFile): string[] {
  if (!path.startsWith(AUTH_SOURCES)) return [];
  const own = path.slice(AUTH_SOURCES.length);
  return importsIn(path, text).flatMap(({ specifier, file }) => {
    const target = file?.slice(AUTH_SOURCES.length);
    if (target !== undefined) {
      const isInside = file?.startsWith(AUTH_SOURCES) && (!target.startsWith('authjs/') || own.startsWith('authjs/'));
      return isInside ? [] : [`${path} imports ${specifier}, which only ${posix.dirname(target)} may`];
    }
    if (specifier.startsWith('node:')) return [];
    const owners = AUTH_NPM[nameOf(specifier)] ?? [];
    return owners.some((owner) => own.startsWith(owner)) ? [] : [`${path} imports ${specifier}`];
  });
}

function browserBreaches(entry: string, imports: ReadonlyMap<string, readonly Import[]>): string[] {
  const way = new Map<string, string>([[entry, entry]]);
  for (const [path, there] of way) {
    for (const { file, specifier } of imports.get(path) ?? imports.get(`${path}x`) ?? []) {
      if (specifier.startsWith('node:')) return [`${entry} reaches ${specifier} by ${there}`];
      if (file !== null && !way.has(file)) way.set(file, `${there} → ${file}`);
    }
  }
  return [];
}

/** Imports and re-exports, also of types. They start a line, unlike those in strings. */
function importsIn(path: string, text: string): Import[] {
  const code = text.replaceAll(/^\s*\/\/[^\n]*|\/\*[\s\S]*?\*\//gm, '');
  const found = [
    ...code.matchAll(/^(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]/gm),
    ...code.matchAll(/^import\s*['"]([^'"]+)['"]/gm),
    ...code.matchAll(/\b(?:import|require)\(\s*['"]([^'"]+)['"]/g),
  ];
  return found.map(([, specifier = '']) => {
    if (!specifier.startsWith('.')) return { specifier, file: null };
    return { specifier, file: posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts') };
  });
}
