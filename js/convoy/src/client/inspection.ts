/**
 * The parts of a client, for development tools. A client registers itself here, so that tools need no public access to
 * its state. The hooks of the parts (`onChange`, `onFrame`) are unset unless a tool is open.
 */
import type { ConvoyClient } from './client.js';
import type { LazyMutations } from './lazy-mutations.js';
import type { LiveQueries } from './live-query.js';
import type { Transport } from './transport.js';

export interface ClientParts {
  readonly transport: Transport;
  readonly live: LiveQueries;
  readonly mutations: LazyMutations;
}

export const partsOf = new WeakMap<ConvoyClient, ClientParts>();
