// Finds a Chromium for the browser test, installs Debian's where that is
// possible, and otherwise says plainly what to do.
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { run, StepError } from './run.mjs';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const elsewhere = ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];

export async function findChromium() {
  const named = process.env.CONVOY_TEST_CHROMIUM;
  if (named !== undefined) {
    if (await isExecutable(named)) return named;
    throw new StepError(`CONVOY_TEST_CHROMIUM names ${named}, which cannot be run.`);
  }
  const found = await search();
  if (found !== undefined) return found;
  if (process.getuid?.() === 0 && (await hasCommand('apt-get'))) {
    await run('Installing Chromium for the browser test (apt-get)', 'sh', [
      '-c',
      'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null',
    ]);
    const installed = await search();
    if (installed !== undefined) return installed;
  }
  throw new StepError(
    'The browser test needs Chromium or Chrome, and none was found. Install one (Debian and Ubuntu: ' +
      '`sudo apt-get install chromium`; macOS: `brew install --cask google-chrome`), or set CONVOY_TEST_CHROMIUM to its path.',
  );
}

async function search() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const candidates = [...names.flatMap((name) => folders.map((folder) => join(folder, name))), ...elsewhere];
  for (const candidate of candidates) if (await isExecutable(candidate)) return candidate;
  return undefined;
}

async function isExecutable(path) {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function hasCommand(command) {
  return promisify(execFile)(command, ['--version']).then(
    () => true,
    () => false,
  );
}
