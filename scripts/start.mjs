// Builds the dependencies of the example, then runs it: Vite with Convoy in it. The last
// lines have the address to open.
import { buildEngine, buildPackage } from './build.mjs';
import { run } from './run.mjs';

await buildPackage();
await buildEngine('dev');
await run('Starting the chat example', 'npm', ['run', '--silent', 'dev', '--workspace', 'examples/chat']);
