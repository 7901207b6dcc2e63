// Finds PgBouncer for the tests of poolers, installs Debian's where that is
// possible, and otherwise says plainly what to do.
import { findProgram, installDebianPackage } from './packages.mjs';
import { StepError } from './run.mjs';

export async function findPgBouncer() {
  // Debian puts it where only root's PATH looks.
  const search = () => findProgram(['pgbouncer'], { elsewhere: ['/usr/sbin'] });
  const found = await search();
  if (found !== undefined) return found;
  if (await installDebianPackage('pgbouncer', 'PgBouncer for the tests of poolers')) {
    const installed = await search();
    if (installed !== undefined) return installed;
  }
  throw new StepError(
    'The tests of poolers need PgBouncer, and none was found. Install it (Debian and Ubuntu: ' +
      '`sudo apt-get install pgbouncer`; macOS: `brew install pgbouncer`).',
  );
}
