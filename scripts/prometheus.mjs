// Finds Prometheus for the test of the dashboard; packages.mjs handles a missing one.
import { debianPackage, findProgram, obtainProgram } from './packages.mjs';

export function findPrometheus() {
  return obtainProgram({
    name: 'Prometheus',
    for: 'The tests of the dashboard',
    skipped: 'The tests of the dashboard',
    installer: debianPackage('prometheus'),
    advice: 'Install it (Debian and Ubuntu: `sudo apt-get install prometheus`; macOS: `brew install prometheus`).',
    search: () => findProgram(['prometheus']),
  });
}
