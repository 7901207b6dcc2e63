/**
 * Compiles the project for `convoy dev`, again and again, with everything ready that does not depend on the change: the
 * parsed files, the thread that inspects the code, and the one that will run it.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Convoy } from '../../server/convoy.js';
import type { Preloaded } from '../../server/standby-worker.js';
import { type PreparedProject, prepareProject } from '../code/compile.js';
import { IncrementalBundler } from '../code/incremental-bundler.js';
import { Inspector } from '../code/inspect.js';
import type { ProjectLayout } from '../options.js';
import type { SaveTrace } from './save-trace.js';

/** What serves while code is compiled. */
export interface Serving {
  readonly convoy: Pick<Convoy, 'preload'>;
  /** The hash of the loaded code; `null` if it must be loaded again in any case. */
  readonly hash: string | null;
}

export class DevCompiler {
  readonly #layout: ProjectLayout;
  readonly #bundler: IncrementalBundler;
  readonly #inspector = new Inspector();

  constructor(layout: ProjectLayout) {
    this.#layout = layout;
    this.#bundler = new IncrementalBundler(layout);
  }

  /**
   * Compiles the project. While the code is inspected, the thread that waits for the next program imports it as well; if
   * the code is rejected, that thread ends.
   */
  async compile(serving: Serving | null, trace: SaveTrace | null = null): Promise<PreparedProject> {
    const layout = this.#layout;
    let preloaded: Preloaded | null = null;
    const discard = () => {
      preloaded?.discard();
      preloaded = null;
    };
    try {
      return await prepareProject(layout, {
        bundle: async (files, generated) => {
          discard();
          const bundle = await this.#bundler.bundle(files, generated);
          trace?.mark('bundled');
          if (serving !== null && generated === 'files' && bundle.hash !== serving.hash) {
            preloaded = serving.convoy.preload({ program: pathToFileURL(bundle.file) });
          }
          return bundle;
        },
        inspect: async (bundle, files) => {
          const code = await this.#inspector.inspect({ bundle, files, layout }, { print: preloaded === null });
          trace?.mark('inspected');
          return code;
        },
      });
    } catch (error) {
      discard();
      throw error;
    }
  }

  /** Starts the threads of the next change. Both import the packages that every project imports. */
  async prepareNext({ hash, packages }: PreparedProject, { convoy }: Serving): Promise<void> {
    const file = path.join(this.#layout.buildFolder, `${hash}.packages.mjs`);
    // Others may be replaced by an installation meanwhile, or depend on the order of their imports.
    const shared = packages.filter((name) => /^(@avvos\/convoy|zod)(\/|$)/.test(name));
    await writeFile(file, shared.map((name) => `import ${JSON.stringify(name)};\n`).join(''));
    const { href } = pathToFileURL(file);
    convoy.preload({ program: href });
    this.#inspector.prepare(href);
  }

  async close(): Promise<void> {
    await Promise.all([this.#bundler.close(), this.#inspector.close()]);
  }
}
