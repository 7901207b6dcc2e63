/** Starts a server in each of the four ways, and returns what is printed where it cannot start. */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandLine, type Files, noteFunctions, notes } from '../command-line.js';

/** The output of the commands is compared with files below this folder. */
export const snapshots = join(import.meta.dirname, 'printed');

const program = `import { createConvoy } from '@avvos/convoy/node';
import { pathToFileURL } from 'node:url';

try {
  const program = pathToFileURL('convoy-build/program.mjs').href;
  const convoy = await createConvoy({ program, databaseUrl: process.env.DATABASE_URL || undefined });
  await convoy.listen({ port: Number(process.env.PORT) });
  console.log('listening');
  await convoy.close();
} catch (error) {
  console.log(\`\${error.name} \${error.code ?? ''}: \${error.message}\`);
  process.exit(1);
}
`;

export type Way = 'convoy dev' | 'convoy start' | 'convoy migrate' | 'createConvoy';

export const ways: readonly Way[] = ['convoy dev', 'convoy start', 'convoy migrate', 'createConvoy'];

const commands = {
  'convoy dev': ['dev', '--no-watch'],
  'convoy start': ['start'],
  'convoy migrate': ['migrate'],
} as const;

/** The environment of this process, without what would change how a server starts. */
function inherited(): NodeJS.ProcessEnv {
  const { PORT: _port, HOST: _host, CI: _ci, DATABASE_URL: _url, npm_config_user_agent: _agent, ...rest } = process.env;
  return rest;
}

export interface Attempt {
  readonly env?: Readonly<Record<string, string>>;
  readonly only?: readonly Way[];
  /** Text that differs from run to run, with what stands for it. */
  readonly hide?: Readonly<Record<string, string>>;
}

/** A project whose code has been built. */
export class Startable {
  readonly app: CommandLine;
  /** Flags of Node for each process. */
  nodeFlags: readonly string[] = [];

  private constructor(app: CommandLine) {
    this.app = app;
  }

  static async create(files: Files = {}): Promise<Startable> {
    const app = await CommandLine.create({
      'convoy/schema.ts': notes,
      'convoy/functions/notes.ts': noteFunctions,
      ...files,
    });
    return new Startable(app);
  }

  async build(): Promise<this> {
    const built = await this.app.run(['build']);
    if (built.code !== 0) throw new Error(`The project could not be built:\n${built.stdout}${built.stderr}`);
    return this;
  }

  /** Tries each way, and returns exit codes and output as one text. */
  async attempt({ env = {}, only = ways, hide = {} }: Attempt = {}): Promise<string> {
    const texts: string[] = [];
    // One after another, because they write the same files.
    for (const way of only) {
      const { code, text } = await this.#try(way, { PORT: '0', ...env });
      texts.push(`$ ${way} (exit code ${code})\n${this.#normalized(text, hide)}`);
    }
    return `${texts.join('\n\n')}\n`;
  }

  async #try(way: Way, env: Readonly<Record<string, string>>): Promise<{ code: unknown; text: string }> {
    const server = join(this.app.root, 'server.mjs');
    if (way === 'createConvoy') await writeFile(server, program);
    const convoy = join(this.app.root, 'node_modules/@avvos/convoy/bin/convoy.mjs');
    const args = way === 'createConvoy' ? [server] : [convoy, ...commands[way]];
    const child = spawn(process.execPath, [...this.nodeFlags, ...args], {
      cwd: this.app.root,
      env: { ...inherited(), NO_COLOR: '1', DATABASE_URL: this.app.databaseUrl, ...env },
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
    }
    const code = await new Promise((resolve) => child.once('close', resolve));
    return { code, text };
  }

  #normalized(text: string, hide: Readonly<Record<string, string>>): string {
    let result = text.replaceAll(this.app.root, '<root>');
    for (const [part, name] of Object.entries(hide)) result = result.replaceAll(part, name);
    return (
      result
        .replace(/\(pid \d+\)\. Stop it: kill \d+/g, '(pid <pid>). Stop it: kill <pid>')
        .replace(/ \(\/\S*\/node\)/g, ' (<node>)')
        // Other tests use the same functions, and may add some.
        .replace(/Compiled \d+ functions/g, 'Compiled <count> functions')
        .replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /gm, '')
        .trimEnd()
    );
  }
}
