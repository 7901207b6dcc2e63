/**
 * Watches a project's sources and reports changes: one call at a time, with every change since the last one.
 */
import { existsSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { watch } from 'chokidar';
import type { ProjectLayout } from '../options.js';
import { type ChangeTimes, now } from './save-trace.js';

export interface ProjectWatcher {
  /** Watches these files too, also outside of the project's folder. */
  follow(files: readonly string[]): void;
  /** Reports a change without a file after a delay; a later call replaces the pending one. */
  triggerIn(ms: number): void;
  /** Waits until no change has arrived for a moment; resolves to whether any awaits its call. */
  isSuperseded(): Promise<boolean>;
  close(): Promise<void>;
}

/** The events of one save arrive together. */
const SAVE_MS = 2;

/** chokidar drops a change that follows another one of the same file within 50 ms. */
const DROPPED_MS = 60;

/**
 * Editors write a file in several steps, and many files at once. Code that has an error may be incomplete for so long; a
 * change that was dropped has been found by then.
 */
const COMPLETE_MS = DROPPED_MS + 20;

const NO_FILE = '';

type OnChange = (files: readonly string[], times: ChangeTimes) => Promise<void>;

/**
 * Resolves when the watcher is ready, that of `extraFiles` included; files that do not exist yet are watched a moment
 * later. `onChange` gets absolute paths and must not reject.
 */
export async function watchProject(
  layout: ProjectLayout,
  onChange: OnChange,
  extraFiles: readonly string[] = [],
): Promise<ProjectWatcher> {
  const batcher = new ChangeBatcher((files, times) =>
    onChange(
      files.filter((file) => file !== NO_FILE),
      times,
    ),
  );
  const again = new SecondLook((file, found) => batcher.add(file, found));
  let timer: NodeJS.Timeout | undefined;
  // A file that does not exist would make chokidar emit `ready` before it has seen the others.
  const existing = extraFiles.filter((file) => existsSync(file));
  const absent = extraFiles.filter((file) => !existsSync(file));
  const watcher = watch([layout.convoyFolder, layout.schemaFile, ...existing], {
    ignoreInitial: true,
    ignored: (file) => isIgnored(file, layout),
  });
  const inFolder = (file: string) => file.startsWith(layout.convoyFolder + path.sep);
  watcher.on('all', (_event, changed, stats) => {
    const file = path.resolve(changed);
    if (!inFolder(file)) {
      // A single watched file is watched by inode. Editors, Git and `cp` may delete and rewrite it, and events of the
      // new inode would be lost.
      watcher.unwatch(file);
      watcher.add(file);
    }
    batcher.add(file, stats);
    again.lookAt(file, stats);
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
    isSuperseded: () => batcher.isSuperseded(),
    close: async () => {
      clearTimeout(timer);
      again.stop();
      batcher.stop();
      await watcher.close();
    },
  };
}

/** Compares each reported file with its state a moment later, until that stays the same. */
class SecondLook {
  readonly #onChange: (file: string, found: Stats | undefined) => void;
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(onChange: (file: string, found: Stats | undefined) => void) {
    this.#onChange = onChange;
  }

  /** `seen` is the state that was reported, absent for a file that was deleted. */
  lookAt(file: string, seen: Stats | undefined): void {
    clearTimeout(this.#timers.get(file));
    const look = () => {
      this.#timers.delete(file);
      const found = statSync(file, { throwIfNoEntry: false });
      if (versionOf(found) === versionOf(seen)) return;
      this.#onChange(file, found);
      this.lookAt(file, found);
    };
    this.#timers.set(file, setTimeout(look, DROPPED_MS));
  }

  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }
}

function versionOf(stats: Stats | undefined): string {
  return stats === undefined ? 'absent' : `${stats.ino} ${stats.mtimeMs} ${stats.size}`;
}

function isIgnored(file: string, { convoyFolder, generatedFolder }: ProjectLayout): boolean {
  const below = path.relative(convoyFolder, file);
  if (below.startsWith('..')) return false;
  if (file === generatedFolder || file.startsWith(generatedFolder + path.sep)) return true;
  return below.split(path.sep).some((part) => part.startsWith('.') || part === 'node_modules');
}

/**
 * Reports a change as soon as the events of its save have arrived, and those that arrive meanwhile in the next call. Never
 * runs two calls at a time.
 */
export class ChangeBatcher {
  readonly #run: OnChange;
  readonly #files = new Set<string>();
  #savedAt: number | null = null;
  #noticedAt: number | null = null;
  #lastAt = 0;
  #timer: NodeJS.Timeout | null = null;
  #running = false;
  #stopped = false;

  constructor(run: OnChange) {
    this.#run = run;
  }

  add(file: string, stats?: { readonly mtimeMs: number }): void {
    if (this.#stopped) return;
    this.#files.add(file);
    this.#lastAt = now();
    this.#noticedAt ??= this.#lastAt;
    if (stats !== undefined) this.#savedAt = Math.max(this.#savedAt ?? 0, stats.mtimeMs);
    if (this.#running) return;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // A file that is empty has just been opened for writing.
      const isComplete = now() - this.#lastAt > COMPLETE_MS || ![...this.#files].some(isEmpty);
      if (isComplete) void this.#drain();
      else this.#schedule();
    }, SAVE_MS);
  }

  async isSuperseded(): Promise<boolean> {
    const remaining = () => this.#lastAt + COMPLETE_MS - now();
    while (remaining() > 0 && !this.#stopped) await pause(remaining());
    return this.#files.size > 0 && !this.#stopped;
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  async #drain(): Promise<void> {
    this.#running = true;
    while (this.#files.size > 0 && !this.#stopped) {
      const files = [...this.#files].sort();
      const times = { savedAt: this.#savedAt, noticedAt: this.#noticedAt ?? now() };
      this.#files.clear();
      this.#savedAt = null;
      this.#noticedAt = null;
      await this.#run(files, times);
    }
    this.#running = false;
  }
}

function isEmpty(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.size === 0;
}
