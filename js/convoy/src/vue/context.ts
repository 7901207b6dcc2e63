/** The client that composables use, and the ways to provide it. */
import { hasInjectionContext, type InjectionKey, inject, type Plugin, provide } from 'vue';
import { type CallingClient, completeClient } from '../client/calling-client.js';
import type { ConvoyClient } from '../client/client.js';
import { resolveClient } from '../client/default-client.js';

const CLIENT: InjectionKey<ConvoyClient> = Symbol('convoy');

/** A plugin that provides `client` to an application: `app.use(convoyPlugin(client))`. */
export function convoyPlugin(client: ConvoyClient | CallingClient): Plugin {
  return { install: (app) => app.provide(CLIENT, completeClient(client)) };
}

/** Provides `client` to the components below the one whose `setup` calls this. Does not close it. */
export function provideConvoy(client: ConvoyClient | CallingClient): void {
  provide(CLIENT, completeClient(client));
}

/** The client of this component: `override`, if given, else the provided one, else one for the page's origin. */
export function useConvoy(override?: ConvoyClient | CallingClient): ConvoyClient {
  return resolveClient(override, hasInjectionContext() ? inject(CLIENT, null) : null);
}
