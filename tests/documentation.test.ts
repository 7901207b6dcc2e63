/**
 * Compiles the code in the documentation and in the skills for coding agents. Each block of TypeScript starts with the
 * path of its file. The blocks of a page are the files of one project, together with those of the pages it builds on.
 * Blocks marked `before` are code of other products.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';

const repository = path.join(import.meta.dirname, '..');
const compiler = path.join(path.dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');

const ofAuth = (await readdir(path.join(repository, 'docs/auth'))).map((name) => `auth/${name}`);
const documentation = [...(await readdir(path.join(repository, 'docs'))), ...ofAuth].filter((name) =>
  name.endsWith('.md'),
);
const skills = await readdir(path.join(repository, 'js/convoy/skills'));
const pages = [
  'README.md',
  ...documentation.map((name) => `docs/${name}`),
  ...skills.map((name) => `js/convoy/skills/${name}/SKILL.md`),
];
const texts = new Map(
  await Promise.all(pages.map(async (page) => [page, await readFile(path.join(repository, page), 'utf8')] as const)),
);

/** The pages that a page builds on. */
function prerequisites(page: string): string[] {
  const complete = [
    'README.md',
    ...[
      'start',
      'access',
      'row-level-security',
      'existing-servers',
      'frameworks',
      'auth/index',
      'better-auth-adapter',
    ].map((name) => `docs/${name}.md`),
  ];
  if (complete.includes(page) || page.startsWith('docs/migrating-')) return [];
  if (page.startsWith('docs/auth/')) return ['docs/auth/index.md'];
  if (page.endsWith('/convoy-screens/SKILL.md')) return ['js/convoy/skills/convoy-functions/SKILL.md'];
  if (page.endsWith('/SKILL.md')) return [];
  const screens = [
    'react',
    'lists',
    'other-frameworks',
    'tanstack-query',
    'tanstack-db',
    'optimistic-updates',
    'offline',
    'server-rendering',
  ];
  return screens.some((name) => page === `docs/${name}.md`) ? ['README.md'] : ['docs/schema.md', 'docs/functions.md'];
}

interface Block {
  /** Undefined for a block that does not start with a path. */
  readonly file: string | undefined;
  readonly code: string;
}

function blocksOf(page: string): Block[] {
  const blocks = (texts.get(page) ?? '').matchAll(/^```(?:tsx?|vue|svelte)\n([\s\S]*?)^```$/gm);
  return [...blocks].map(([, code = '']) => (code.startsWith('<!--') ? componentIn(code) : moduleIn(code)));
}

function moduleIn(code: string): Block {
  const file = /^\/\/ (\S+\.tsx?)\n/.exec(code)?.[1];
  // Applications set this for all their files.
  const pragma = code.includes("from 'solid-js'") ? '/** @jsxImportSource solid-js */' : '';
  return { file, code: pragma + code };
}

/** The script of a component of Vue or Svelte, as a module that a file next to it imports like the component. */
function componentIn(code: string): Block {
  const [, file, framework] = /^<!-- (\S+\.(vue|svelte)) -->\n/.exec(code) ?? [];
  const [, script = ''] = /<script\b[^>]*\blang="ts">([\s\S]*?)<\/script>/.exec(code) ?? [];
  const component = `export default {} as import('${framework}').Component;`;
  return { file: file && `${file}.ts`, code: `${script}\n${component}` };
}

let root: string | null = null;
afterEach(async () => {
  if (root !== null) await rm(root, { recursive: true });
  root = null;
});

/** Compiles these files, together with those that Convoy generates from them; returns the compiler's output. */
async function check(blocks: readonly Block[], folders = ['convoy', 'src', 'app', '*.ts']): Promise<string> {
  root = await mkdtemp(path.join(tmpdir(), 'convoy-docs-'));
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    jsx: 'react-jsx',
    target: 'es2023',
    module: 'esnext',
    moduleResolution: 'bundler',
    types: ['node'],
  };
  const files: Block[] = [
    ...blocks,
    // For modules of the pages on authentication, which are loaded.
    {
      file: '.env',
      code: ['GUEST', 'AUTH'].map((name) => `${name}_SECRET="${'for the documentation'.repeat(2)}"`).join('\n'),
    },
    { file: 'package.json', code: '{ "type": "module" }' },
    { file: 'tsconfig.json', code: JSON.stringify({ compilerOptions, include: folders }) },
  ];
  for (const { file, code } of files) {
    if (file === undefined) continue;
    await mkdir(path.dirname(path.join(root, file)), { recursive: true });
    await writeFile(path.join(root, file), code);
  }
  await symlink(path.join(repository, 'node_modules'), path.join(root, 'node_modules'));
  const run = promisify(execFile);
  await run(process.execPath, [path.join(repository, 'js/convoy/bin/convoy.mjs'), 'generate'], { cwd: root });
  return run(process.execPath, [compiler, '-p', '.'], { cwd: root }).then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  );
}

const withCode = pages.filter((page) => blocksOf(page).length > 0);

test.each(withCode)('the code of %s compiles', async (page) => {
  const own = blocksOf(page);
  const files = own.map(({ file }) => file);
  expect(own.filter(({ file }) => file === undefined).map(({ code }) => code)).toEqual([]);
  expect(files.filter((file, index) => files.indexOf(file) !== index)).toEqual([]);
  // The other files need the packages of the frameworks. Their own tests build them.
  const folders = page === 'docs/frameworks.md' ? ['convoy'] : undefined;
  expect(await check([...prerequisites(page).flatMap(blocksOf), ...own], folders)).toBe('');
});

test.each(pages)('no TypeScript of %s is left out', (page) => {
  const fences = (texts.get(page) ?? '').matchAll(/^```(\S.*)$/gm);
  const unchecked = [...fences]
    .map(([, info = '']) => info)
    .filter((info) => /^(tsx?|mts|cts|typescript)\b/i.test(info));
  expect(unchecked.filter((info) => !/^tsx?( before)?$/.test(info))).toEqual([]);
});

test.each(skills)('the skill %s has a name and a description', (name) => {
  const text = texts.get(`js/convoy/skills/${name}/SKILL.md`) ?? '';
  const [, given, description = ''] = /^---\nname: (\S+)\ndescription: (.+)\n---\n/.exec(text) ?? [];
  expect(given).toBe(name);
  // Agents read only this to choose a skill; longer ones are cut.
  expect(description.length).toBeGreaterThan(100);
  expect(description.length).toBeLessThanOrEqual(1024);
});

test('a type error in the documentation is found', async () => {
  const blocks = blocksOf('README.md').map(({ file, code }) => ({
    file,
    code: code.replace('messages.list', 'messages.lst'),
  }));
  expect(await check(blocks)).toContain("src/room.tsx(6,59): error TS2551: Property 'lst' does not exist");
});
