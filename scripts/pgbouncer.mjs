// Finds PgBouncer for the pooler tests; packages.mjs handles a missing one.
import { debianPackage, findProgram, obtainProgram } from './packages.mjs';

export function findPgBouncer() {
  return obtainProgram({
    name: 'PgBouncer',
    for: 'The pooler tests',
    skipped: 'Some tests',
    installer: debianPackage('pgbouncer'),
    advice: 'Install it (Debian and Ubuntu: `sudo apt-get install pgbouncer`; macOS: `brew install pgbouncer`).',
    // Debian installs it in a folder that is only in root's PATH.
    search: () => findProgram(['pgbouncer'], { elsewhere: ['/usr/sbin'] }),
  });
}
