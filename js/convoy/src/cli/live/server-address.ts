/** The address of the API of a running server of this project. */
import { loadConfig } from '../code/config-file.js';
import { engineOptionsOf } from '../code/runnable.js';
import { loadEnvFiles } from '../env-files.js';
import { devOptionsOf, layoutOf, type ProjectFlags } from '../options.js';

export interface ServerFlags extends ProjectFlags {
  /** The base URL of its API. */
  readonly url?: string;
  readonly port?: string;
}

/** The base URL of the API: `--url`, or the one that `convoy dev` would serve. */
export async function serverAddress(flags: ServerFlags, cwd: string): Promise<string> {
  if (flags.url !== undefined) return flags.url.replace(/\/+$/, '');
  const layout = layoutOf(flags, cwd);
  loadEnvFiles(layout.root, cwd);
  const { basePath } = engineOptionsOf(await loadConfig(layout));
  const { port } = devOptionsOf({ ...flags, watch: false, serve: true }, { ...process.env, DATABASE_URL: undefined });
  return `http://127.0.0.1:${port}${basePath ?? '/api'}`;
}
