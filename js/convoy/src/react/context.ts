/**
 * Which client the hooks use: the one a hook was given, else the provider's, else one that speaks to the page's own
 * origin.
 */
import { createContext, createElement, type ReactElement, type ReactNode, useContext } from 'react';
import { type CallingClient, completeClient } from '../client/calling-client.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';

const ClientContext = createContext<ConvoyClient | null>(null);

/**
 * The client of pages without a provider. It stands for the page's origin, of which there is one, so it is the one
 * thing here that belongs to a module. While rendering on a server it is made and never used: hooks ask nothing there.
 */
let ofThisPage: ConvoyClient | undefined;

export interface ConvoyProviderProps {
  readonly client: ConvoyClient | CallingClient;
  readonly children?: ReactNode;
}

/** Gives `client` to the hooks below. Closing it stays with whoever made it. */
export function ConvoyProvider({ client, children }: ConvoyProviderProps): ReactElement {
  return createElement(ClientContext.Provider, { value: completeClient(client) }, children);
}

/** The client in force here. */
export function useConvoy(given?: ConvoyClient | CallingClient): ConvoyClient {
  const provided = useContext(ClientContext);
  if (given) return completeClient(given);
  if (provided) return provided;
  ofThisPage ??= createConvoyClient();
  return ofThisPage;
}
