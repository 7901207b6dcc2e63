// Finds a Chromium for the browser tests; packages.mjs handles a missing one.
import { debianPackage, findProgram, isExecutable, obtainProgram } from './packages.mjs';
import { StepError } from './run.mjs';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const paths = ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];

export async function findChromium() {
  const named = process.env.CONVOY_TEST_CHROMIUM;
  if (named !== undefined) {
    if (await isExecutable(named)) return named;
    throw new StepError(`CONVOY_TEST_CHROMIUM names ${named}, which cannot be run.`);
  }
  return obtainProgram({
    name: 'Chromium or Chrome',
    for: 'The browser tests',
    skipped: 'Some tests',
    installer: debianPackage('chromium'),
    advice:
      'Install one (Debian and Ubuntu: `sudo apt-get install chromium`; macOS: `brew install --cask google-chrome`), ' +
      'or set CONVOY_TEST_CHROMIUM to its path.',
    search: () => findProgram(names, { paths }),
  });
}
