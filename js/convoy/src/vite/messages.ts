/** The messages between the plugin in Vite's process and the process that runs `convoy dev`. */
import type { DevReport } from '../cli/dev/report.js';

/** The settings of a `convoy dev`: the process gets them as JSON in its first argument. */
export interface DevSettings {
  /** An absolute path. */
  readonly root: string;
  readonly schema: string;
  readonly port: number;
  readonly verbose: boolean;
}

export type FromDevProcess = DevReport | { readonly kind: 'print'; readonly text: string };

export interface ToDevProcess {
  readonly kind: 'stop';
}
