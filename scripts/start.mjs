// Builds what the example needs, then runs it: `convoy dev` and Vite side by side.
// The last line says which of their addresses is the one to open.
import { buildEngine, buildPackage } from './build.mjs';
import { run } from './run.mjs';

await buildPackage();
await buildEngine('dev');

/** How long it is quiet once both are up: each prints its address among other lines. */
const quietMs = 500;
const colour = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');
let printed = '';
let told = false;
let timer;

function follow(text) {
  if (told) return;
  printed = (printed + text).replace(colour, '');
  const page = /\[web\].*Local:\s+(http:\/\/\S+)/.exec(printed)?.[1];
  if (page === undefined || !/\[convoy\]\s+Server\s+http/.test(printed)) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    told = true;
    console.log(`\nOpen ${page}`);
  }, quietMs);
}

await run('Starting the chat example', 'npm', ['run', '--silent', 'dev', '--workspace', 'examples/chat'], {
  env: process.stdout.isTTY ? { FORCE_COLOR: '1' } : {},
  follow,
});
