/**
 * Compiles the project for `convoy dev`, again and again, with everything ready that does not depend on the change: the
 * parsed files, and the thread that will run the code.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Convoy } from '../../server/convoy.js';
import type { Standby } from '../../server/standby-worker.js';
import { type PreparedProject, prepareProject } from '../code/compile.js';
import { IncrementalBundler } from '../code/incremental-bundler.js';
import { INSPECTION_MODULE, type InspectedCode, inspectElsewhere, inspectOnThread } from '../code/inspect.js';
import type { ProjectLayout } from '../options.js';
import type { SaveTrace } from './save-trace.js';

/** The program that serves while code is compiled. */
type Serving = Pick<Convoy, 'standby'>;

export class DevCompiler {
  readonly #layout: ProjectLayout;
  readonly #bundler: IncrementalBundler;
  /** The code that was inspected last, by the hash of its bundle. */
  #inspected: { readonly hash: string; readonly code: InspectedCode } | null = null;

  /** The thread that has evaluated code. Once that is loaded, the thread has another owner. */
  #evaluated: Standby | null = null;

  constructor(layout: ProjectLayout) {
    this.#layout = layout;
    this.#bundler = new IncrementalBundler(layout);
  }

  /**
   * Compiles the project. The code is inspected on the thread that will run it, so that it is evaluated once; if it is
   * rejected, that thread ends.
   */
  async compile(serving: Serving | null, trace: SaveTrace | null = null): Promise<PreparedProject> {
    const layout = this.#layout;
    try {
      return await prepareProject(layout, {
        bundle: async (files, generated) => {
          const bundle = await this.#bundler.bundle(files, generated);
          trace?.mark('bundled');
          return bundle;
        },
        inspect: async (bundle, files) => {
          if (this.#inspected?.hash === bundle.hash) return this.#inspected.code;
          // A thread that has evaluated other code is not used again.
          this.#discard();
          const standby = serving?.standby() ?? null;
          this.#evaluated = standby;
          const code =
            standby === null
              ? await inspectOnThread(bundle, files, layout)
              : await inspectElsewhere((...task) => standby.evaluate(...task), { bundle, files, layout });
          this.#inspected = { hash: bundle.hash, code };
          trace?.mark('imported by a worker');
          return code;
        },
      });
    } catch (error) {
      this.#discard();
      throw error;
    }
  }

  /** Makes the next code be inspected again, even if it is the same: its environment has changed. */
  forget(): void {
    this.#inspected = null;
  }

  /**
   * Starts the thread of the next change, which imports the packages that every project imports, and the module that
   * inspects code.
   */
  async prepareNext({ hash, packages }: PreparedProject, serving: Serving): Promise<void> {
    this.#discard();
    const standby = serving.standby();
    if (standby === null) return;
    const file = path.join(this.#layout.buildFolder, `${hash}.packages.mjs`);
    // Others may be replaced by an installation meanwhile, or depend on the order of their imports.
    const shared = packages.filter((name) => /^(@avvos\/convoy|zod)(\/|$)/.test(name));
    await writeFile(file, shared.map((name) => `import ${JSON.stringify(name)};\n`).join(''));
    standby.preload(pathToFileURL(file));
    standby.preload(INSPECTION_MODULE);
  }

  async close(): Promise<void> {
    await this.#bundler.close();
  }

  #discard(): void {
    this.#evaluated?.discard();
    this.#evaluated = null;
  }
}
