/** Projects made by the packed `create-convoy-app`, with the packed `@avvos/convoy` in them. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { currentPlatform, platformTag } from '../js/convoy/src/server/platforms.js';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');

/** The addon, which a platform package holds that is not published. */
const addon = process.env.CONVOY_NATIVE_PATH ?? join(root, 'npm', platformTag(currentPlatform()), 'convoy.node');

export interface Packages {
  /** The tarball of `@avvos/convoy`. */
  readonly convoy: string;
  /** The tarball of `@avvos/convoy-auth`. */
  readonly auth: string;
  /** The installed program `create-convoy-app`. */
  readonly program: string;
  readonly folder: string;
  remove(): Promise<void>;
}

async function versionOf(name: string): Promise<string> {
  return JSON.parse(await readFile(join(root, 'js', name, 'package.json'), 'utf8')).version;
}

/** Packs the packages as they would be published, and installs `create-convoy-app` from its tarball. */
export async function packPackages(): Promise<Packages> {
  const folder = await mkdtemp(join(tmpdir(), 'convoy-packed-'));
  const pack = async (name: string) => {
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: join(root, 'js', name),
    });
    const [file] = Object.values(JSON.parse(stdout) as Record<string, { filename: string }>);
    if (file === undefined) throw new Error(`npm pack printed no file name:\n${stdout}`);
    return join(folder, file.filename);
  };
  const [convoy, auth] = [await pack('convoy'), await pack('convoy-auth')];
  await run(process.execPath, [join(root, 'scripts', 'pack-create-app.mjs'), folder]);
  const create = join(folder, `create-convoy-app-${await versionOf('create-convoy-app')}.tgz`);
  await writeFile(join(folder, 'package.json'), '{ "private": true }');
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', create], { cwd: folder });
  const program = join(folder, 'node_modules', '.bin', 'create-convoy-app');
  return { convoy, auth, program, folder, remove: () => rm(folder, { recursive: true }) };
}

/** Creates a project, puts the packed packages into it, installs, and checks its types. */
export async function scaffold(packages: Packages, name: string, flags: readonly string[]): Promise<ScaffoldedApp> {
  const made = await run(packages.program, [name, '--no-install', ...flags], { cwd: packages.folder });
  const app = new ScaffoldedApp(join(packages.folder, name), made.stdout);
  const manifest = JSON.parse(await app.read('package.json')) as { dependencies: Record<string, string> };
  const { dependencies } = manifest;
  dependencies['@avvos/convoy'] = `file:${packages.convoy}`;
  if (dependencies['@avvos/convoy-auth'] !== undefined) dependencies['@avvos/convoy-auth'] = `file:${packages.auth}`;
  await app.write('package.json', JSON.stringify(manifest, null, 2));
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: app.folder });
  return app;
}

/** Makes the project that a page describes: runs its first shell block, and writes every file that it shows. */
export async function followPage(packages: Packages, page: string): Promise<ScaffoldedApp> {
  const install = /^```sh\n(mkdir [\s\S]*?)^```$/m.exec(page)?.[1];
  if (install === undefined) throw new Error('the page has no shell block that makes a folder');
  const script = install.replace(/ @avvos\/convoy /, ` ${packages.convoy} `);
  await run('sh', ['-e', '-c', script], { cwd: packages.folder });
  const app = new ScaffoldedApp(join(packages.folder, /^mkdir (\S+)/.exec(install)?.[1] ?? ''), '');
  const files = page.matchAll(/^```(?:tsx?|html)\n(?:\/\/|<!--) (\S+)(?: -->)?\n([\s\S]*?)^```$/gm);
  for (const [, file = '', text = ''] of files) await app.write(file, text);
  const configuration = /^```json\n([\s\S]*?)^```$/m.exec(page)?.[1];
  if (configuration !== undefined) await app.write('tsconfig.json', configuration);
  return app;
}

export class ScaffoldedApp {
  readonly #running: Running[] = [];

  constructor(
    readonly folder: string,
    /** The output of `create-convoy-app`. */
    readonly printed: string,
  ) {}

  read(file: string): Promise<string> {
    return readFile(join(this.folder, file), 'utf8');
  }

  async write(file: string, text: string): Promise<void> {
    const target = join(this.folder, file);
    await mkdir(dirname(target), { recursive: true });
    // In one step, so that no watcher reads a part of the file.
    const complete = `${this.folder}.new`;
    await writeFile(complete, text);
    await rename(complete, target);
  }

  /** Replaces a part of a file, which must occur. Returns a function that restores the file. */
  async edit(file: string, from: string, to: string): Promise<() => Promise<void>> {
    const before = await this.read(file);
    if (!before.includes(from)) throw new Error(`${file} does not contain ${from}`);
    await this.write(file, before.replace(from, to));
    return () => this.write(file, before);
  }

  /** The output of the compiler for the whole project; empty if there is no error. */
  async checkTypes(): Promise<string> {
    return run('npx', ['tsc', '--noEmit'], { cwd: this.folder }).then(
      ({ stdout }) => stdout,
      ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr,
    );
  }

  /** Starts a program in the project, without a database unless `env` names one. */
  start(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
    // NODE_ENV is `test` here.
    const { DATABASE_URL: _, PORT: __, HOST: ___, NODE_ENV: ____, ...rest } = process.env;
    const running = new Running(
      spawn(command, args, {
        cwd: this.folder,
        // A group of its own, which gets signals as a whole, as from a terminal.
        detached: true,
        env: { ...rest, NO_COLOR: '1', CONVOY_NATIVE_PATH: addon, ...env },
      }),
    );
    this.#running.push(running);
    return running;
  }

  async stop(): Promise<void> {
    for (const each of this.#running.reverse()) await each.stop();
  }
}

/** A program that runs, with its output. */
export class Running {
  output = '';
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #wake = () => {};

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
        this.#wake();
      });
    }
    this.#closed = once(child, 'close').then(() => this.#wake());
  }

  type(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** Waits until the output matches; rejects when the program ends first. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.output);
      if (match) return match;
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`the program ended without printing ${pattern}:\n${this.output}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Waits until the program ends; rejects with its output if the exit code is not 0. */
  async succeeds(): Promise<void> {
    await this.#closed;
    if (this.#child.exitCode !== 0) throw new Error(`the program failed:\n${this.output}`);
  }

  /** By default as with Ctrl-C. */
  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, signal);
    await this.#closed;
  }
}

export async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return String(port);
}
