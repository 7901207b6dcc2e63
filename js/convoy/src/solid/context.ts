/** The client that primitives use, and the component that provides it. */
import { createComponent, createContext, type JSX, useContext } from 'solid-js';
import { type CallingClient, completeClient } from '../client/calling-client.js';
import type { ConvoyClient } from '../client/client.js';
import { resolveClient } from '../client/default-client.js';

const ClientContext = createContext<ConvoyClient>();

/** The properties of `ConvoyProvider`. */
export interface ConvoyProviderProps {
  /** The client of all components below. */
  readonly client: ConvoyClient | CallingClient;
  /** The elements that use the client. */
  readonly children?: JSX.Element;
}

/**
 * Provides `client` to the components below. Does not close it; that is up to its creator.
 *
 * @param props the client, and the elements that use it
 */
export function ConvoyProvider(props: ConvoyProviderProps): JSX.Element {
  return createComponent(ClientContext.Provider, {
    value: completeClient(props.client),
    get children() {
      return props.children;
    },
  });
}

/** The client of this component: `override`, if given, else the provided one, else one for the page's origin. */
export function useConvoy(override?: ConvoyClient | CallingClient): ConvoyClient {
  return resolveClient(override, useContext(ClientContext));
}
