// Builds what the example needs, then runs it: `convoy dev` and Vite side by side.
import { buildEngine, buildPackage } from './build.mjs';
import { run } from './run.mjs';

await buildPackage();
await buildEngine('dev');
await run('Starting the chat example', 'npm', ['run', '--silent', 'dev', '--workspace', 'examples/chat']);
