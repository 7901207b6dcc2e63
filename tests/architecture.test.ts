/** Checks that dependencies point only downwards, as `ARCHITECTURE.md` shows them, and checks the check itself. */
import { readdir, readFile } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { breaches, isGoverned, placeOf, type SourceFile } from './dependencies.js';

const root = join(import.meta.dirname, '..');

async function sources(): Promise<SourceFile[]> {
  const folders = ['crates/convoy', 'crates/convoy-node', 'crates/convoy-testkit', 'js/convoy'];
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
  const pages = await filesBelow('docs/internals');
  const texts = await Promise.all(['ARCHITECTURE.md', ...pages].map((page) => readFile(join(root, page), 'utf8')));
  const map = texts.join('\n');
  const named = new Set(Array.from(map.matchAll(/`([\w./-]+\.(?:rs|tsx?|mjs))`/g), ([, name]) => name as string));

  test('names only files that exist', async () => {
    const folders = ['crates', 'js', 'examples', 'tests', 'scripts', 'docs/site'];
    const files = (await Promise.all(folders.map(filesBelow))).flat();
    const missing = [...named].filter((name) => !files.some((file) => `/${file}`.endsWith(`/${name}`)));
    expect(named.size).toBeGreaterThan(50);
    expect(missing).toEqual([]);
  });

  test('names every folder of the sources', async () => {
    const folders = ['crates/convoy/src', 'js/convoy/src'];
    const places = await Promise.all(
      folders.map(async (folder) => {
        const entries = await readdir(join(root, folder), { withFileTypes: true });
        return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
      }),
    );
    // `engine/` has the submodules of `engine.rs`, which the map names.
    const missing = places
      .flat()
      .filter((name) => name !== 'engine' && !map.includes(`\`${name}/\``) && !map.includes(`\`${name}\``));
    expect(missing).toEqual([]);
  });
});

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const below = entries
    .filter(({ name }) => name !== 'node_modules' && name !== 'dist')
    .map((entry) => (entry.isDirectory() ? filesBelow(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`]));
  return (await Promise.all(below)).flat();
}
