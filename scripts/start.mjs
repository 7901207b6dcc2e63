// Builds the dependencies of the example, then runs it: Vite with Convoy in it. The last
// lines have the address to open. Without Rust, the engine is the published one.
import { buildPackage } from './build.mjs';
import { ensureEngine } from './engine.mjs';
import { run } from './run.mjs';

await buildPackage();
await ensureEngine();
await run('Starting the chat example', 'npm', ['run', '--silent', 'dev', '--workspace', 'examples/chat']);
