/** An edge worker that uses the client for the request in which it is called: `/?base=…&cut=…`. */
import { useClient } from './use-client.mjs';

export default {
  async fetch(request) {
    const { searchParams } = new URL(request.url);
    const lines = [];
    await useClient(searchParams.get('base'), searchParams.get('cut'), (line) => lines.push(line));
    return new Response(lines.join('\n'));
  },
};
