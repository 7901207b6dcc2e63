/** For tests: the `convoy` program made from these sources, started as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));

/** The engine of this machine, where it has been built. */
export const engine = ((): string | null => {
  const given = process.env.CONVOY_NATIVE_PATH ?? path.join(here, '../../../../npm/linux-x64-gnu/convoy.node');
  return existsSync(given) ? given : null;
})();

export interface Program {
  /** Starts `convoy` with these arguments. */
  run(args: readonly string[], cwd: string, env?: Readonly<Record<string, string>>): RunningProgram;
  remove(): Promise<void>;
}

/** Bundled into a folder two below the package, from where it finds `package.json` as the published file does. */
export async function makeProgram(): Promise<Program> {
  const local = path.join(here, '../../.convoy');
  await mkdir(local, { recursive: true });
  const folder = await mkdtemp(path.join(local, 'program-'));
  const file = path.join(folder, 'main.js');
  await build({
    // Threads are started from files of their own, beside what starts them.
    entryPoints: ['main.ts', 'code/inspect-thread.ts', '../server/worker-thread.ts'].map((each) =>
      path.join(here, each),
    ),
    entryNames: '[name]',
    outdir: folder,
    splitting: true,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
  });
  return {
    run: (args, cwd, env = {}) => {
      const { DATABASE_URL: _, PORT: __, HOST: ___, ...rest } = process.env;
      const own = { NO_COLOR: '1', ...(engine ? { CONVOY_NATIVE_PATH: engine } : {}), ...env };
      return new RunningProgram(spawn(process.execPath, [file, ...args], { cwd, env: { ...rest, ...own } }));
    },
    remove: () => rm(folder, { recursive: true }),
  };
}

/** A started program: what it has printed, and how it ended. */
export class RunningProgram {
  readonly process: ChildProcess;
  /** Resolves to the exit code, or the signal that killed it. */
  readonly ended: Promise<number | string | null>;
  printed = '';
  #read = 0;
  #wake = () => {};

  constructor(child: ChildProcess) {
    this.process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.printed += chunk;
        this.#wake();
      });
    }
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        resolve(code ?? signal);
        this.#wake();
      });
    });
  }

  /** Waits until it prints this, after whatever was waited for before; rejects when it ends without. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    let over = false;
    void this.ended.then(() => {
      over = true;
    });
    for (;;) {
      const match = pattern.exec(this.printed.slice(this.#read));
      if (match) {
        this.#read += match.index + match[0].length;
        return match;
      }
      if (over) throw new Error(`it ended without saying ${pattern}; it said:\n${this.printed}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** The results that arrive on one stream of the query `name` without arguments; `api` ends before the path. */
export async function* results(api: string, name: string): AsyncGenerator<unknown> {
  const response = await fetch(`${api}/subscribe?name=${name}&args={}`);
  let text = '';
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    const frames = text.split('\n\n');
    text = frames.pop() ?? '';
    for (const frame of frames) {
      const data = /^data: ?(.*)$/m.exec(frame)?.[1];
      if (data) yield (JSON.parse(data) as { data?: unknown }).data;
    }
  }
}
