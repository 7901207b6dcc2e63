// The server of examples/vite-ssr, which answers each message of its parent with the counters of its Convoy.
import { convoy } from '../../examples/vite-ssr/server.mjs';

process.on('message', () => process.send(convoy.stats()));
// The channel to the parent does not keep the server running.
process.channel.unref();
