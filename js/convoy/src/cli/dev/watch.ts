/**
 * Watches a project's sources and reports changes in batches: one call at a time, with every change since the last one.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { watch } from 'chokidar';
import type { ProjectLayout } from '../options.js';

export interface ProjectWatcher {
  /** Watches these files too, also outside of the project's folder. */
  follow(files: readonly string[]): void;
  /** Reports a change without a file after a delay; a later call replaces the pending one. */
  triggerIn(ms: number): void;
  close(): Promise<void>;
}

/** Editors write a file in several steps, and many files at once. */
const DEBOUNCE_MS = 40;

const NO_FILE = '';

/**
 * Resolves when the watcher is ready, that of `extraFiles` included; files that do not exist yet are watched a moment
 * later. `onChange` gets absolute paths and must not reject.
 */
export async function watchProject(
  layout: ProjectLayout,
  onChange: (files: readonly string[]) => Promise<void>,
  extraFiles: readonly string[] = [],
): Promise<ProjectWatcher> {
  const batcher = new ChangeBatcher((files) => onChange(files.filter((file) => file !== NO_FILE)));
  let timer: NodeJS.Timeout | undefined;
  // A file that does not exist would make chokidar emit `ready` before it has seen the others.
  const existing = extraFiles.filter((file) => existsSync(file));
  const absent = extraFiles.filter((file) => !existsSync(file));
  const watcher = watch([layout.convoyFolder, layout.schemaFile, ...existing], {
    ignoreInitial: true,
    ignored: (file) => isIgnored(file, layout),
  });
  const inFolder = (file: string) => file.startsWith(layout.convoyFolder + path.sep);
  watcher.on('all', (_event, changed) => {
    const file = path.resolve(changed);
    if (!inFolder(file)) {
      // A single watched file is watched by inode. Editors, Git and `cp` may delete and rewrite it, and events of the
      // new inode would be lost.
      watcher.unwatch(file);
      watcher.add(file);
    }
    batcher.add(file);
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
    triggerIn: (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => batcher.add(NO_FILE), ms);
    },
    close: async () => {
      clearTimeout(timer);
      batcher.stop();
      await watcher.close();
    },
  };
}

function isIgnored(file: string, { convoyFolder, generatedFolder }: ProjectLayout): boolean {
  const below = path.relative(convoyFolder, file);
  if (below.startsWith('..')) return false;
  if (file === generatedFolder || file.startsWith(generatedFolder + path.sep)) return true;
  return below.split(path.sep).some((part) => part.startsWith('.') || part === 'node_modules');
}

/** Collects changes until none has arrived for `DEBOUNCE_MS`, and never runs two calls at a time. */
export class ChangeBatcher {
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
    this.#timer = setTimeout(() => this.#drain(), DEBOUNCE_MS);
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
