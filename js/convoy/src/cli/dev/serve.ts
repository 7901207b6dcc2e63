/** Listens for clients, or says who already does. */
import type { Convoy } from '../../server/convoy.js';
import { isFree } from '../postgres/ports.js';
import { whoListensOn } from './port-owner.js';

export interface ServeAt {
  readonly host: string;
  /** 0 is any port. */
  readonly port: number;
}

/** Rejects, naming the program that has it, when the port is taken. */
export async function expectFreePort({ host, port }: ServeAt): Promise<void> {
  if (port === 0 || (await isFree(port, host))) return;
  const owner = await whoListensOn(port);
  const who = owner ? `${owner.program} (pid ${owner.pid})` : 'another program';
  throw new Error(`Port ${port} is in use by ${who}. Stop it, or choose another port with --port or PORT.`);
}

/** Resolves to the address for people, without a path. */
export async function serve(convoy: Pick<Convoy, 'listen'>, { host, port }: ServeAt): Promise<string> {
  const address = await convoy.listen({ host, port });
  return `http://${nameFor(address.host)}:${address.port}`;
}

/** An address that stands for all of a machine's is no address to open. */
function nameFor(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
