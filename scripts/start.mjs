// Builds the dependencies of the example, then runs it: `convoy dev` and Vite side by
// side. The last line has the address to open.
import { buildEngine, buildPackage } from './build.mjs';
import { run } from './run.mjs';

await buildPackage();
await buildEngine('dev');

/** The pause in the output after which both are considered started: each prints several lines. */
const QUIET_MS = 500;
const colour = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');
let output = '';
let announced = false;
let timer;

function follow(text) {
  if (announced) return;
  output = (output + text).replace(colour, '');
  const page = /\[web\].*Local:\s+(http:\/\/\S+)/.exec(output)?.[1];
  if (page === undefined || !/\[convoy\]\s+Server\s+http/.test(output)) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    announced = true;
    console.log(`\nOpen ${page}`);
  }, QUIET_MS);
}

await run('Starting the chat example', 'npm', ['run', '--silent', 'dev', '--workspace', 'examples/chat'], {
  env: process.stdout.isTTY ? { FORCE_COLOR: '1' } : {},
  follow,
});
