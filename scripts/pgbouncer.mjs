// Finds PgBouncer for the tests of poolers; see packages.mjs for what happens without one.
import { debianPackage, findProgram, obtainProgram } from './packages.mjs';

export function findPgBouncer() {
  return obtainProgram({
    name: 'PgBouncer',
    for: 'The tests of poolers',
    skipped: 'Some tests',
    installer: debianPackage('pgbouncer'),
    advice: 'Install it (Debian and Ubuntu: `sudo apt-get install pgbouncer`; macOS: `brew install pgbouncer`).',
    // Debian puts it where only root's PATH looks.
    search: () => findProgram(['pgbouncer'], { elsewhere: ['/usr/sbin'] }),
  });
}
