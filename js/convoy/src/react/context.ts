/** The client that hooks use, and the component that provides it. */
import { createContext, createElement, type ReactElement, type ReactNode, useContext } from 'react';
import { type CallingClient, completeClient } from '../client/calling-client.js';
import type { ConvoyClient } from '../client/client.js';
import { resolveClient } from '../client/default-client.js';

const ClientContext = createContext<ConvoyClient | null>(null);

/** The properties of `ConvoyProvider`. */
export interface ConvoyProviderProps {
  /**
   * The client of all hooks below. A hand-written object with `query` and `mutation` is enough; its queries then run
   * once.
   */
  readonly client: ConvoyClient | CallingClient;
  /** The elements that use the client. */
  readonly children?: ReactNode;
}

/**
 * Provides `client` to the hooks below. Does not close it; that is up to its creator.
 *
 * @param props the client, and the elements that use it
 */
export function ConvoyProvider({ client, children }: ConvoyProviderProps): ReactElement {
  return createElement(ClientContext.Provider, { value: completeClient(client) }, children);
}

/** The client of the hooks in this component: `override`, if given. */
export function useConvoy(override?: ConvoyClient | CallingClient): ConvoyClient {
  return resolveClient(override, useContext(ClientContext));
}
