/** The client that a component uses: the one in its options, else the provided one, else one for the page's origin. */
import { type CallingClient, completeClient } from './calling-client.js';
import { type ConvoyClient, createConvoyClient } from './client.js';

/**
 * The client of pages without a provider. Module state, because a page has one origin. Server rendering creates it but
 * sends no requests: components send none there.
 */
let defaultClient: ConvoyClient | undefined;

export function resolveClient(
  override: ConvoyClient | CallingClient | undefined,
  provided: ConvoyClient | null | undefined,
): ConvoyClient {
  if (override) return completeClient(override);
  if (provided) return provided;
  defaultClient ??= createConvoyClient();
  return defaultClient;
}
