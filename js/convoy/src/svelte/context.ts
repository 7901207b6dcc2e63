/** The client that components use, and the way to provide it. */
import { getContext, setContext } from 'svelte';
import { type CallingClient, completeClient } from '../client/calling-client.js';
import type { ConvoyClient } from '../client/client.js';
import { resolveClient } from '../client/default-client.js';

const CLIENT = Symbol('convoy');

/** Provides `client` to this component and the ones below it. Does not close it. Call it while the component starts. */
export function provideConvoy(client: ConvoyClient | CallingClient): void {
  setContext(CLIENT, completeClient(client));
}

/**
 * The client of this component: `override`, if given, else the provided one, else one for the page's origin. Outside of
 * a component, pass `override`.
 */
export function useConvoy(override?: ConvoyClient | CallingClient): ConvoyClient {
  return resolveClient(override, override ? null : getContext<ConvoyClient | undefined>(CLIENT));
}
