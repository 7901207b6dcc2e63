/** Stacks that begin with the user's own code: frames of this package and of Node say nothing about a mistake in it. */
import { fileURLToPath } from 'node:url';

const packageUrl = new URL('../../', import.meta.url).href;
const packageFolder = fileURLToPath(packageUrl);
const ours = [packageUrl, packageFolder].flatMap((base) => [`${base}dist/`, `${base}src/`]);

/** The text of an error as `inspect` or `stack` gives it, without such frames. A stack of nothing else stays whole. */
export function userStack(text: string): string {
  const kept: string[] = [];
  let block: string[] = [];
  const endBlock = () => {
    const users = block.filter((line) => !isForeign(line));
    // What `inspect` adds (a cause, fields) opens a bracket at the end of the last frame.
    const opens = block.at(-1)?.endsWith(' {') && !users.at(-1)?.endsWith(' {');
    kept.push(...(users.length > 0 ? users : block));
    if (users.length > 0 && opens) kept.push(`${kept.pop()} {`);
    block = [];
  };
  for (const line of text.split('\n')) {
    if (/^\s+(at |\.\.\. \d+ lines matching cause stack trace)/.test(line)) {
      block.push(line);
      continue;
    }
    endBlock();
    kept.push(line);
  }
  endBlock();
  return kept.join('\n');
}

function isForeign(line: string): boolean {
  // Tests of this package stand where users do.
  if (line.includes('.test.')) return false;
  return (
    /^\s+\.\.\. /.test(line) ||
    /\bnode:/.test(line) ||
    /(\(native\)|<anonymous>\)?)( \{)?$/.test(line) ||
    ours.some((base) => line.includes(base))
  );
}
