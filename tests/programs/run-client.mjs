/** Uses the client in Node, Bun or Deno, whose process then ends by itself. */
import { useClient } from './use-client.mjs';

const [baseUrl, cutUrl] = process.argv.slice(2);
await useClient(baseUrl, cutUrl, (line) => console.log(line));
