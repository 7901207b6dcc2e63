/** The `convoy` program of the built package, in projects of their own on databases of their own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { freshDatabaseUrl } from './app.js';

const repository = join(import.meta.dirname, '..');
const program = join(repository, 'js/convoy/bin/convoy.mjs');

/** Path from the root → text, or null to delete the file. */
export type Files = Readonly<Record<string, string | null>>;

export const schema = (tables: string) => `import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export default defineSchema({
${tables}
});
`;

export const notes = schema(`  notes: defineTable({ body: z.string() }).index('by_body', ['body']),`);

export const noteFunctions = `import { ConvoyError } from '@avvos/convoy';
import { z } from 'zod';
import { action, authed, internalQuery, mutation, query } from '../_generated/server';

export const list = query({
  handler: async (ctx) => {
    console.log('this is printed');
    return (await ctx.db.query('notes').withIndex('by_body').collect()).map(({ body }) => body);
  },
});
export const count = internalQuery({ handler: (ctx) => ctx.db.query('notes').count() });
export const add = mutation({
  input: { body: z.string() },
  handler: (ctx, note) => ctx.db.insert('notes', note),
});
export const refuse = mutation({
  handler: () => {
    throw new ConvoyError('FORBIDDEN', 'not today', { details: { until: 'tomorrow' } });
  },
});
export const crash = mutation({
  handler: () => {
    throw new Error('unexpected');
  },
});
export const member = authed.query({ handler: (ctx) => (ctx.auth as unknown as { user: { id: string } }).user.id });
export const whoami = query({ handler: (ctx) => (ctx as unknown as { user?: string }).user ?? null });
export const slow = action({
  handler: async (ctx) => {
    console.log('slow begins');
    for (;;) {
      const [row] = await ctx.db.raw<{ free: boolean }>(
        { text: "select to_regclass('public.go') is not null as free", values: [] },
      );
      if (row?.free) return 'done';
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  },
});
`;

export class CommandLine {
  readonly root: string;
  readonly databaseUrl: string;
  readonly #started: RunningCommand[] = [];
  readonly #connections: pg.Client[] = [];

  private constructor(root: string, databaseUrl: string) {
    this.root = root;
    this.databaseUrl = databaseUrl;
  }

  /** A project with these files, and the URL of a database that does not exist yet. */
  static async create(files: Files): Promise<CommandLine> {
    const root = await mkdtemp(join(tmpdir(), 'convoy-cli-'));
    const project = new CommandLine(root, freshDatabaseUrl());
    await installPackage(root);
    await project.write({ 'package.json': '{ "name": "app", "type": "module" }', ...files });
    return project;
  }

  async write(files: Files): Promise<void> {
    for (const [name, text] of Object.entries(files)) {
      const file = join(this.root, name);
      if (text === null) {
        await unlink(file);
        continue;
      }
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, text);
    }
  }

  /** Starts a command. */
  start(args: readonly string[], { env = {}, cwd = this.root }: CommandOptions = {}): RunningCommand {
    const { PORT: _port, HOST: _host, CI: _ci, ...rest } = process.env;
    const own = { NO_COLOR: '1', DATABASE_URL: this.databaseUrl, ...env };
    const each = new RunningCommand(spawn(process.execPath, [program, ...args], { cwd, env: { ...rest, ...own } }));
    this.#started.push(each);
    return each;
  }

  /** Runs a command to its end, with `input` on standard input. */
  async run(args: readonly string[], options: CommandOptions & { readonly input?: string } = {}): Promise<Result> {
    const each = this.start(args, options);
    each.process.stdin?.end(options.input ?? '');
    const code = await each.ended;
    return { code, stdout: each.stdout, stderr: each.stderr };
  }

  /** Starts the built code on a free port; resolves to the server and its URL. */
  async serve(options: CommandOptions = {}, ...flags: string[]): Promise<{ server: RunningCommand; url: string }> {
    const server = this.start(['start', '--port', '0', ...flags], options);
    const [, url = ''] = await server.prints(/serves (http:\S+)/);
    return { server, url: url.replace('0.0.0.0', '127.0.0.1') };
  }

  /** A connection to the database of the project. */
  async connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.databaseUrl });
    await client.connect();
    this.#connections.push(client);
    return client;
  }

  async query<Row extends object>(text: string): Promise<Row[]> {
    const client = await this.connect();
    return (await client.query<Row>(text)).rows;
  }

  /** The objects of the database, as text, to show that nothing has changed. */
  async catalog(): Promise<string> {
    const rows = await this.query(`
      select n.nspname, c.relname, c.relkind, c.relfilenode::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('public', '_convoy')
      union all select 'trigger', tgname, 't', tgrelid::text from pg_trigger
      union all select 'function', proname, 'f', p.oid::text from pg_proc p where pronamespace = to_regnamespace('_convoy')
      order by 1, 2, 4`);
    return JSON.stringify(rows);
  }

  async remove(): Promise<void> {
    for (const each of this.#started) {
      each.process.kill('SIGKILL');
      await each.ended;
    }
    for (const client of this.#connections) await client.end();
    const admin = new pg.Client({ connectionString: process.env.CONVOY_TEST_DATABASE_URL });
    await admin.connect();
    await admin.query(`drop database if exists "${new URL(this.databaseUrl).pathname.slice(1)}" with (force)`);
    await admin.end();
    await rm(this.root, { recursive: true, maxRetries: 5 });
  }
}

interface CommandOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

interface Result {
  readonly code: number | NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Makes `@avvos/convoy` and its peer the only packages of a folder. */
export async function installPackage(folder: string): Promise<void> {
  await mkdir(join(folder, 'node_modules/@avvos'), { recursive: true });
  await symlink(join(repository, 'js/convoy'), join(folder, 'node_modules/@avvos/convoy'));
  await symlink(join(repository, 'node_modules/zod'), join(folder, 'node_modules/zod'));
}

export class RunningCommand {
  readonly process: ChildProcess;
  /** Resolves to the exit code, or to the signal that ended the process. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  stdout = '';
  stderr = '';
  #read = 0;
  #hasEnded = false;
  #wake = () => {};

  constructor(child: ChildProcess) {
    this.process = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.#wake();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#hasEnded = true;
        resolve(code ?? signal);
        this.#wake();
      });
    });
  }

  /** Waits for standard output to match after the previous match. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    const match = await this.#until(() => pattern.exec(this.stdout.slice(this.#read)));
    this.#read += match.index + match[0].length;
    return match;
  }

  /** Waits for standard error to match. */
  logs(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#until(() => pattern.exec(this.stderr));
  }

  async #until<T>(look: () => T | null): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== null) return found;
      if (this.#hasEnded) throw new Error(`the command ended before it printed this:\n${this.stdout}\n${this.stderr}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Calls a function over HTTP; resolves to the envelope. */
export async function call(url: string, path: string, input: object = {}): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(input),
  });
  return (await response.json()) as Record<string, unknown>;
}
