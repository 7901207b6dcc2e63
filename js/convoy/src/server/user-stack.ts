/** Error stacks reduced to user code: frames of this package and of Node do not help to find a mistake in it. */
import { fileURLToPath } from 'node:url';

// Not `new URL('../../', import.meta.url)`, in which bundlers see a file to include.
const packageUrl = import.meta.url.replace(/[^/]+\/[^/]+\/[^/]*$/, '');
const packageFolder = fileURLToPath(packageUrl);
const ours = [packageUrl, packageFolder].flatMap((base) => [`${base}dist/`, `${base}src/`]);

/** Removes the frames of this package and of Node from `text`, an error by `inspect` or its `stack`, if others remain. */
export function userStack(text: string): string {
  const kept: string[] = [];
  let block: string[] = [];
  const endBlock = () => {
    const users = block.filter((line) => !isForeign(line));
    // `inspect` appends the bracket that opens a cause or fields to the last frame.
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
  // Tests of this package count as user code.
  if (line.includes('.test.')) return false;
  return (
    /^\s+\.\.\. /.test(line) ||
    /\bnode:/.test(line) ||
    /(\(native\)|<anonymous>\)?)( \{)?$/.test(line) ||
    ours.some((base) => line.includes(base))
  );
}
