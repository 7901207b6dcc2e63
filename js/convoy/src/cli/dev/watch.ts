/** Watches a project's sources and tells of changes in bursts: one call at a time, with everything since the last. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { watch } from 'chokidar';
import type { ProjectLayout } from '../options.js';

export interface ProjectWatcher {
  /** Watches these files too, wherever they are. */
  follow(files: readonly string[]): void;
  /** Calls as if something had changed, without a file, after a while; a later call of this replaces it. */
  callAgainIn(ms: number): void;
  close(): Promise<void>;
}

/** Editors write a file in several steps, and many files at once. */
const quietMs = 40;

const NO_FILE = '';

/**
 * Resolves when changes from now on are seen, those of files `besides` included; of such as are not there yet a moment
 * later. `onChange` gets absolute paths and must not reject.
 */
export async function watchProject(
  layout: ProjectLayout,
  onChange: (files: readonly string[]) => Promise<void>,
  besides: readonly string[] = [],
): Promise<ProjectWatcher> {
  const bursts = new Bursts((files) => onChange(files.filter((file) => file !== NO_FILE)));
  let timer: NodeJS.Timeout | undefined;
  // A file that is not there would make chokidar say that it is ready before it has seen the others.
  const [there, absent] = [besides.filter((file) => existsSync(file)), besides.filter((file) => !existsSync(file))];
  const watcher = watch([layout.convoyFolder, layout.schemaFile, ...there], {
    ignoreInitial: true,
    ignored: (file) => isNoSource(file, layout),
  });
  const inFolder = (file: string) => file.startsWith(layout.convoyFolder + path.sep);
  watcher.on('all', (_event, changed) => {
    const file = path.resolve(changed);
    if (!inFolder(file)) {
      // What is watched by name is watched as the file that it was. Deleted and written again, as editors, Git and
      // `cp` do, it is another one, of which nothing would be heard.
      watcher.unwatch(file);
      watcher.add(file);
    }
    bursts.add(file);
  });
  await new Promise<void>((resolve, reject) => {
    watcher.once('ready', resolve);
    watcher.once('error', reject);
  });
  watcher.add(absent);
  return {
    follow: (files) => {
      watcher.add(files.filter((file) => !inFolder(file) && existsSync(file)));
    },
    callAgainIn: (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => bursts.add(NO_FILE), ms);
    },
    close: async () => {
      clearTimeout(timer);
      bursts.stop();
      await watcher.close();
    },
  };
}

function isNoSource(file: string, { convoyFolder, generatedFolder }: ProjectLayout): boolean {
  const below = path.relative(convoyFolder, file);
  if (below.startsWith('..')) return false;
  if (file === generatedFolder || file.startsWith(generatedFolder + path.sep)) return true;
  return below.split(path.sep).some((part) => part.startsWith('.') || part === 'node_modules');
}

/** Gathers what comes in until it has been quiet for a moment, and never runs two calls at a time. */
export class Bursts {
  readonly #run: (files: readonly string[]) => Promise<void>;
  readonly #files = new Set<string>();
  #timer: NodeJS.Timeout | null = null;
  #running = false;
  #stopped = false;

  constructor(run: (files: readonly string[]) => Promise<void>) {
    this.#run = run;
  }

  add(file: string): void {
    if (this.#stopped) return;
    this.#files.add(file);
    if (this.#running) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#drain(), quietMs);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  async #drain(): Promise<void> {
    this.#running = true;
    while (this.#files.size > 0 && !this.#stopped) {
      const files = [...this.#files].sort();
      this.#files.clear();
      await this.#run(files);
    }
    this.#running = false;
  }
}
