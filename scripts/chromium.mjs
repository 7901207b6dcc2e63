// Finds a Chromium for the browser test, installs Debian's where that is
// possible, and otherwise says plainly what to do.
import { findProgram, installDebianPackage, isExecutable } from './packages.mjs';
import { StepError } from './run.mjs';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const paths = ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];

export async function findChromium() {
  const named = process.env.CONVOY_TEST_CHROMIUM;
  if (named !== undefined) {
    if (await isExecutable(named)) return named;
    throw new StepError(`CONVOY_TEST_CHROMIUM names ${named}, which cannot be run.`);
  }
  const search = () => findProgram(names, { paths });
  const found = await search();
  if (found !== undefined) return found;
  if (await installDebianPackage('chromium', 'Chromium for the browser test')) {
    const installed = await search();
    if (installed !== undefined) return installed;
  }
  throw new StepError(
    'The browser test needs Chromium or Chrome, and none was found. Install one (Debian and Ubuntu: ' +
      '`sudo apt-get install chromium`; macOS: `brew install --cask google-chrome`), or set CONVOY_TEST_CHROMIUM to its path.',
  );
}
