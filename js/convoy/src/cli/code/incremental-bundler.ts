/**
 * Bundles a project again and again: files that have not changed since the last build are not parsed again. It keeps a
 * process of esbuild busy until it is closed.
 */
import type { BuildContext } from 'esbuild';
import type { ProjectLayout } from '../options.js';
import { asCodeProblem, type Bundle, bundleOptions, type GeneratedSource, storeBundle } from './bundle.js';
import { context } from './esbuild.js';
import type { ProjectFiles } from './files.js';

type Context = BuildContext<ReturnType<typeof bundleOptions>>;

export class IncrementalBundler {
  readonly #layout: ProjectLayout;
  readonly #contexts = new Map<GeneratedSource, Promise<Context>>();
  #files: ProjectFiles | null = null;

  constructor(layout: ProjectLayout) {
    this.#layout = layout;
  }

  /** As `bundleProject`. Builds must not overlap. */
  async bundle(files: ProjectFiles, generated: GeneratedSource): Promise<Bundle> {
    this.#files = files;
    const target = { folder: this.#layout.buildFolder };
    let opened = this.#contexts.get(generated);
    if (opened === undefined) {
      opened = context(bundleOptions(this.#layout, () => this.#files ?? files, generated, target));
      this.#contexts.set(generated, opened);
    }
    const builder = await opened;
    return storeBundle(this.#layout, target, await builder.rebuild().catch(asCodeProblem(this.#layout)));
  }

  async close(): Promise<void> {
    const contexts = [...this.#contexts.values()];
    this.#contexts.clear();
    await Promise.all(contexts.map(async (opened) => (await opened).dispose()));
  }
}
