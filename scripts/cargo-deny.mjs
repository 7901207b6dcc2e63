// Checks licences, duplicate versions and sources of the crates with cargo-deny and
// `deny.toml`; packages.mjs handles a missing cargo-deny.
import { join } from 'node:path';
import { cratesPackage, findProgram, obtainProgram, toolsFolder } from './packages.mjs';
import { run } from './run.mjs';

const version = '0.20.2';

export async function checkCrates() {
  const program = await obtainProgram({
    name: 'cargo-deny',
    for: 'Checks of licences and sources of crates',
    skipped: 'These checks',
    installer: cratesPackage('cargo-deny', version),
    advice: `Install it: \`cargo install --locked cargo-deny@${version}\`.`,
    search: () => findProgram(['cargo-deny'], { elsewhere: [join(toolsFolder, 'bin')] }),
  });
  if (program === undefined) return;
  const strict = ['unmatched-skip', 'license-not-encountered'].flatMap((lint) => ['--deny', lint]);
  const checks = ['licenses', 'bans', 'sources'];
  await run('Licences, versions and sources of crates', program, ['--all-features', 'check', ...strict, ...checks]);
}
