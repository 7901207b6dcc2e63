/** The warning about the option `subscribeUrl` of 0.0.1, where it names another server than the client's. */
import type { ConvoyClient } from '../client/client.js';

/** Clients whose queries have a `subscribeUrl` of another server: each logs one warning. */
const warned = new WeakSet<ConvoyClient>();

export function warnOfSubscribeUrl(client: ConvoyClient, subscribeUrl: string): void {
  if (warned.has(client)) return;
  if (!URL.canParse(subscribeUrl) || !URL.canParse(client.baseUrl)) return;
  if (new URL(subscribeUrl).href.startsWith(new URL(client.baseUrl).href)) return;
  warned.add(client);
  console.warn(
    `Convoy: \`subscribeUrl\` (${subscribeUrl}) has no effect. Queries are watched at the client's baseUrl, ` +
      `${client.baseUrl}; for another server pass createConvoyClient({ baseUrl }) to a ConvoyProvider.`,
  );
}
