/** For tests: the `convoy` program built from these sources, which runs as a separate process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));

/** The engine addon of this machine; null where it has not been built. */
export const engine = ((): string | null => {
  const given = process.env.CONVOY_NATIVE_PATH ?? path.join(here, '../../../../npm/linux-x64-gnu/convoy.node');
  return existsSync(given) ? given : null;
})();

export interface Program {
  /** Starts `convoy` with these arguments. */
  run(args: readonly string[], cwd: string, env?: Readonly<Record<string, string>>): RunningProgram;
  remove(): Promise<void>;
}

/**
 * Bundles the program into a folder two levels below the package, where it finds `package.json` like the published
 * file.
 */
export async function makeProgram(): Promise<Program> {
  const local = path.join(here, '../../.convoy');
  await mkdir(local, { recursive: true });
  const folder = await mkdtemp(path.join(local, 'program-'));
  const file = path.join(folder, 'main.js');
  await build({
    // Threads and processes start from separate files next to the file that starts them.
    entryPoints: [
      'main.ts',
      'code/inspect-thread.ts',
      'code/inspect-here.ts',
      'dev/type-check-process.ts',
      '../server/worker-thread.ts',
    ].map((each) => path.join(here, each)),
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

/** A started program with its output and exit code. */
export class RunningProgram {
  readonly process: ChildProcess;
  /** Resolves to the exit code, or the signal that killed it. */
  readonly ended: Promise<number | string | null>;
  output = '';
  #read = 0;
  #wake = () => {};

  constructor(child: ChildProcess) {
    this.process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.output += chunk;
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

  /** Waits until the output matches, after the previous match; rejects when the program ends first. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    let hasEnded = false;
    void this.ended.then(() => {
      hasEnded = true;
    });
    for (;;) {
      const match = pattern.exec(this.output.slice(this.#read));
      if (match) {
        this.#read += match.index + match[0].length;
        return match;
      }
      if (hasEnded) throw new Error(`the program ended without printing ${pattern}; its output:\n${this.output}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** The results on one stream of the query `name` without arguments; `api` is the base URL. */
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
