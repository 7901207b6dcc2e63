// Runs the steps of a Dockerfile in overlays of a Debian system, where there is no Docker:
// those that Convoy's file uses. It is no replacement for Docker: there is no isolation
// but chroot, and COPY knows no patterns.
import { spawn } from 'node:child_process';
import { cp, mkdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { must, Overlay } from './roots.mjs';

/** Parses a Dockerfile into stages: `{ from, name, steps: [instruction, words][] }`. */
export function parseDockerfile(text) {
  const stages = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, instruction, words] = /^(\w+) (.*)$/.exec(line) ?? [];
    if (instruction === 'FROM') {
      const [, from, name] = /^(\S+)(?: AS (\S+))?$/.exec(words) ?? [];
      stages.push({ from, name, steps: [] });
    } else {
      stages.at(-1).steps.push([instruction, words]);
    }
  }
  return stages;
}

/** An image: the root of a stage after its steps, and what its configuration says. */
export class Image {
  config = { env: {}, workdir: '/', user: 'root', command: null, healthcheck: null };

  constructor(root) {
    this.root = root;
  }

  /**
   * Runs the steps of a stage.
   *
   * @param {{ from: string, steps: [string, string][] }} stage
   * @param {{ folder: string, lower: string, context: string, images: Map<string, Image>, env: object, ignored: Set<string> }} options
   *   `env` is that of each RUN alone, as by build arguments; `ignored` are names of `.dockerignore`
   */
  static async build(stage, { folder, lower, context, images, env, ignored }) {
    const image = new Image(await Overlay.mount(folder, lower));
    await image.#runAll(stage.steps, { context, images, env, ignored });
    return image;
  }

  async #runAll(steps, { context, images, env, ignored }) {
    await this.root.connect();
    const { config } = this;
    for (const [instruction, words] of steps) {
      switch (instruction) {
        case 'WORKDIR':
          config.workdir = words;
          await mkdir(this.#path(words), { recursive: true });
          break;
        case 'ENV': {
          const [, name, value] = /^(\w+)=(.*)$/.exec(words);
          config.env[name] = value;
          break;
        }
        case 'COPY':
          await this.#copy(words, { context, images, ignored });
          break;
        case 'RUN':
          await this.root.run(['sh', '-c', words], {
            user: config.user,
            cwd: config.workdir,
            env: { ...config.env, ...env },
          });
          break;
        case 'USER':
          config.user = words;
          break;
        case 'CMD':
          config.command = JSON.parse(words);
          break;
        case 'HEALTHCHECK':
          config.healthcheck = JSON.parse(words.slice(words.indexOf('CMD ') + 4));
          break;
        case 'EXPOSE':
          break;
        default:
          throw new Error(`The Dockerfile has ${instruction}, which this script does not run`);
      }
    }
  }

  #path(inside) {
    return join(this.root.path, inside.startsWith('/') ? '' : this.config.workdir, inside);
  }

  async #copy(words, { context, images, ignored }) {
    const parts = words.split(' ');
    const from = parts[0].startsWith('--from=') ? images.get(parts.shift().slice('--from='.length)) : null;
    const target = parts.pop();
    for (const each of parts) {
      const source = from === null ? join(context, each) : join(from.root.path, each);
      const to = /\/$/.test(target) || parts.length > 1 ? join(this.#path(target), basename(each)) : this.#path(target);
      const isKept = (file) => from !== null || !ignored.has(file.slice(context.length + 1).split('/')[0]);
      await cp(source, each === '.' ? this.#path(target) : to, {
        recursive: true,
        verbatimSymlinks: true,
        filter: isKept,
      });
    }
  }

  /** Starts its command, as a container would. */
  start(env) {
    return spawn('/usr/sbin/chroot', this.#words(this.config.command), {
      env: this.#env(env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Whether its health check succeeds. */
  async isHealthy(env) {
    return must('/usr/sbin/chroot', this.#words(this.config.healthcheck), { env: this.#env(env) }).then(
      () => true,
      () => false,
    );
  }

  /** Runs another command in it. */
  run(command, env) {
    return must('/usr/sbin/chroot', this.#words(command), { env: this.#env(env) });
  }

  #words(command) {
    return ['--userspec', this.config.user, this.root.path, '/usr/bin/env', '-C', this.config.workdir, ...command];
  }

  #env(env) {
    return { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/tmp', ...this.config.env, ...env };
  }
}

/** The names that a `.dockerignore` lists. */
export async function ignoredNames(file) {
  const lines = (await readFile(file, 'utf8')).split('\n');
  return new Set(lines.filter((line) => line !== '' && !line.startsWith('#') && !line.includes('*')));
}
