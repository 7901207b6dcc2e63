/** Checks that dependencies point only downwards, as `ARCHITECTURE.md` shows them, and checks the check itself. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { breaches, isGoverned, placeOf, type SourceFile } from './dependencies.js';

const root = join(import.meta.dirname, '..');

async function sources(): Promise<SourceFile[]> {
  const folders = ['crates/convoy', 'crates/convoy-node', 'crates/convoy-testkit', 'js/convoy', 'js/convoy-auth'];
  const paths = await Promise.all(
    folders.map(async (folder) => {
      const names = await readdir(join(root, folder, 'src'), { recursive: true });
      return names.map((name) => `${folder}/src/${name.split(sep).join('/')}`);
    }),
  );
  const governed = paths.flat().filter(isGoverned);
  return Promise.all(governed.map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })));
}

test('every source depends only on what its layer may use', async () => {
  expect(breaches(await sources())).toEqual([]);
});

test('every folder of the sources is checked', async () => {
  const places = new Set((await sources()).map(({ path }) => placeOf(path)));
  const engine = ['http', 'live', 'dispatch', 'db', 'feed', 'postgres', 'sql', 'engine', 'lib'];
  const written = [
    'vite',
    'cli',
    'codegen',
    'server',
    'react',
    'next',
    'vue',
    'svelte',
    'solid',
    'tanstack',
    'tanstack-db',
    'client',
    'protocol',
    'schema',
    'sql',
    'values',
    'index',
  ];
  expect([...engine, ...written].filter((place) => !places.has(place))).toEqual([]);
});

describe('the check finds', () => {
  const lib = { path: 'crates/convoy/src/lib.rs', text: 'pub use engine::{Engine, Stats};\npub use error::Code;' };
  const entry = { path: 'js/convoy/src/index.ts', text: "export { query } from './server/functions.js';" };

  test.each([
    ['a lower layer that names a higher one', 'crates/convoy/src/sql/mod.rs', 'use crate::db::Executor;'],
    [
      'a name in the middle of a group',
      'crates/convoy/src/db/mod.rs',
      'use crate::{error::Code, live::{Frame, Live}};',
    ],
    ['a path in an expression', 'crates/convoy/src/postgres/pool.rs', 'fn f() { crate::http::serve() }'],
    ['a sibling by `super`', 'crates/convoy/src/feed/mod.rs', 'use super::live::Frame;'],
    ['a sibling by two', 'crates/convoy/src/feed/position.rs', 'use super::super::live::Frame;'],
    ['the engine, under its name in the root', 'crates/convoy/src/dispatch/mod.rs', 'use crate::Engine;'],
    ['a leaf module with a dependency', 'crates/convoy/src/op.rs', 'use crate::sql::Statement;'],
    ['hyper outside http', 'crates/convoy/src/live/frame.rs', 'use hyper::body::Frame;'],
    ['a helper crate of hyper', 'crates/convoy/src/engine.rs', 'use http_body_util::Full;'],
    ['sqlx outside postgres', 'crates/convoy/src/db/execute.rs', 'fn f(error: sqlx::Error) {}'],
    ['sqlx in the N-API crate', 'crates/convoy-node/src/engine.rs', 'use sqlx::Row;'],
    ['napi in the engine', 'crates/convoy/src/lib.rs', 'use napi::Env;'],
    ['napi in the testkit', 'crates/convoy-testkit/src/lib.rs', '#[napi]\nfn f() {}'],
    ['a client that imports the server', 'js/convoy/src/client/client.ts', "import { Host } from '../server/host.js';"],
    [
      'an import of a type only',
      'js/convoy/src/react/use-query.ts',
      "import type {\n  Host,\n} from '../server/host.js';",
    ],
    ['a re-export', 'js/convoy/src/protocol/refs.ts', "export * from '../client/client.js';"],
    ['a dynamic import', 'js/convoy/src/schema/table.ts', "const f = () => import('../cli/run.js');"],
    ['a server that imports the CLI', 'js/convoy/src/server/host.ts', "import { a } from '../cli/options.js';"],
    ['Node in a client', 'js/convoy/src/client/visibility.ts', "import { readFile } from 'node:fs';"],
    ['a package outside of its owner', 'js/convoy/src/server/host.ts', "import ora from 'ora';"],
    ['a package without an owner', 'js/convoy/src/client/one-shot-query.ts', "import 'left-pad';"],
    [
      'an optional package outside of its adapter',
      'js/convoy-auth/src/jwt/jwt.ts',
      "import { Auth } from '@auth/core';",
    ],
    ['an adapter with an optional package', 'js/convoy-auth/src/index.ts', "export * from './authjs/index.js';"],
    ['sources of another package', 'js/convoy-auth/src/adapter.ts', "import '../../convoy/src/index.js';"],
    ['Node imported below the root entry', 'js/convoy/src/server/functions.ts', "import { inspect } from 'node:util';"],
  ])('%s', (_what, path, text) => {
    const bad = { path, text };
    const others = [lib, entry].filter((file) => file.path !== path);
    expect(breaches([...others, bad])).toEqual([expect.stringContaining(path)]);
  });

  test('not what only resembles a dependency', () => {
    const allowed: SourceFile[] = [
      { path: 'crates/convoy/src/sql/mod.rs', text: '//! as [`db`](crate::db) does\nconst A: &str = "crate::db";' },
      {
        path: 'crates/convoy/src/http/mod.rs',
        text: 'use crate::Engine;\nuse crate::live::{Frame, now};\nuse hyper::Uri;',
      },
      {
        path: 'crates/convoy/src/key.rs',
        text: '#[cfg(test)]\nmod tests {\n    use super::*;\n    use super::live;\n}',
      },
      { path: 'crates/convoy/src/live/mod.rs', text: "fn f<'a>(a: &'a str) -> char { '\"' }\nuse super::feed::Feed;" },
      {
        path: 'js/convoy/src/client/visibility.ts',
        text: "// import { a } from '../server/a.js';\nconst text = `import b from 'node:fs'`;",
      },
    ];
    expect(breaches([lib, ...allowed])).toEqual([]);
  });
});

describe('the map in ARCHITECTURE.md and docs/internals', async () => {
  const names = ['ARCHITECTURE.md', ...(await filesBelow('docs/internals'))];
  const pages = await Promise.all(
    names.map(async (name) => ({ name, text: await readFile(join(root, name), 'utf8') })),
  );
  const map = pages.map(({ text }) => text).join('\n');

  test('names only files that exist, below a folder that the same page names', async () => {
    expect(namedFiles(map).length).toBeGreaterThan(50);
    for (const { name, text } of pages) expect(missingFiles(text), name).toEqual([]);
  });

  test('names every folder of the sources, or a file in it', async () => {
    const files = namedFiles(map);
    const isNamed = (folder: string) =>
      map.includes(`\`${folder}/\``) || files.some((file) => file.startsWith(`${folder}/`) || file === `${folder}.rs`);
    const folders = await Promise.all(['crates/convoy/src', 'js/convoy/src', 'js/convoy-auth/src'].map(foldersBelow));
    expect(folders.flat().length).toBeGreaterThan(30);
    expect(folders.flat().filter((folder) => !isNamed(folder))).toEqual([]);
  });

  test('the check finds a file in another folder, and one that does not exist', () => {
    const page =
      '`dispatch/` has `dispatch/drive.rs`, `drive.rs` and `heartbeat.ts`; `dispatch/feed.rs`, `schema_sync.rs`.';
    expect(missingFiles(page)).toEqual(['heartbeat.ts', 'dispatch/feed.rs', 'schema_sync.rs']);
  });
});

function namedFiles(text: string): string[] {
  return [...new Set(Array.from(text.matchAll(/`([\w./-]+\.(?:rs|tsx?|mjs))`/g), ([, name]) => name as string))];
}

/** The folders that names on the map are relative to. */
const MAP_ROOTS = [
  '.',
  'crates',
  'crates/convoy/src',
  'crates/convoy-node/src',
  'js',
  'js/convoy/src',
  'js/convoy-auth/src',
  'js/create-convoy-app/src',
  'docs/site',
  'scripts',
  'tests',
];

/** The named files that exist neither below a root nor below a folder, or the submodules of a file, that the page names. */
function missingFiles(page: string): string[] {
  const named = namedFiles(page);
  const folders = Array.from(page.matchAll(/`([\w./-]+)\/`/g), ([, folder]) => folder as string);
  const places = [
    '.',
    ...folders,
    ...named.map((name) => dirname(name)),
    ...named.map((name) => name.replace(/\.rs$/, '')),
  ];
  return named.filter(
    (name) => !MAP_ROOTS.some((base) => places.some((place) => existsSync(join(root, base, place, name)))),
  );
}

/** All folders below, relative to `base`, but not those of tests. */
async function foldersBelow(base: string): Promise<string[]> {
  const entries = await readdir(join(root, base), { recursive: true, withFileTypes: true });
  const folders = entries
    .filter((entry) => entry.isDirectory())
    .map(({ parentPath, name }) => relative(join(root, base), join(parentPath, name)).split(sep).join('/'));
  return folders.filter((folder) => !/(^|\/)(tests|snapshots|__snapshots__)$/.test(folder));
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const below = entries
    .filter(({ name }) => name !== 'node_modules' && name !== 'dist')
    .map((entry) => (entry.isDirectory() ? filesBelow(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`]));
  return (await Promise.all(below)).flat();
}
