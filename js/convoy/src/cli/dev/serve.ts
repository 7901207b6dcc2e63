/** Listens for clients; a taken port is an error that names its owner. */
import type { Convoy } from '../../server/convoy.js';
import { portInUse } from '../../server/port-owner.js';
import { isFree } from '../postgres/ports.js';

export interface ListenAddress {
  readonly host: string;
  /** 0 is any port. */
  readonly port: number;
}

/** Rejects when the port is taken, naming the program that listens on it. */
export async function expectFreePort({ host, port }: ListenAddress): Promise<void> {
  if (port === 0 || (await isFree(port, host))) return;
  throw new Error(await portInUse(port, 'choose another port with --port or PORT'));
}

/** Starts to listen; resolves to the URL to open, without a path. */
export async function serve(convoy: Pick<Convoy, 'listen'>, { host, port }: ListenAddress): Promise<string> {
  const address = await convoy.listen({ host, port });
  return `http://${browsableHost(address.host)}:${address.port}`;
}

/** A wildcard address cannot be opened in a browser; `localhost` can. */
function browsableHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/** Whether only this machine can reach a server on this host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
