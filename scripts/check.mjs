// Runs all checks that need no database: formats, lints, types, licences, links of the documentation.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildPackage } from './build.mjs';
import { checkCrates } from './cargo-deny.mjs';
import { buildSite } from './docs.mjs';
import { checkLicences } from './licences.mjs';
import { checkLimits } from './limits-reference.mjs';
import { root, run } from './run.mjs';

await buildPackage();
await run('Rust format', 'cargo', ['fmt', '--all', '--check']);
await run('Rust lints', 'cargo', [
  'clippy',
  '--locked',
  '--workspace',
  '--lib',
  '--bins',
  '--tests',
  '--quiet',
  '--',
  '--deny',
  'warnings',
]);
await run('TypeScript format and lints', 'npx', ['biome', 'check', '--error-on-warnings', '.']);
await run('Types of the package and its tests', 'npx', ['tsc', '--noEmit', '-p', 'js/convoy/tsconfig.test.json']);
await run('Types of @avvos/convoy-auth', 'npx', ['tsc', '--noEmit', '-p', 'js/convoy-auth/tsconfig.test.json']);
await run('Types of create-convoy-app', 'npx', ['tsc', '--noEmit', '-p', 'js/create-convoy-app/tsconfig.test.json']);
for (const template of await readdir(join(root, 'js/create-convoy-app/templates'))) {
  // Next.js is 200 MB and not installed here; `npm run test:long` installs it, and checks the types of its template.
  if (template === 'nextjs') continue;
  await run(`Types of the template ${template}`, 'npx', [
    'tsc',
    '--noEmit',
    '-p',
    `js/create-convoy-app/templates/${template}`,
  ]);
}
for (const example of await readdir(join(root, 'examples'))) {
  await run(`Types of the example ${example}`, 'npx', ['tsc', '--noEmit', '-p', `examples/${example}`]);
}
await run('Types of the tests', 'npx', ['tsc', '--noEmit', '-p', 'tests']);
await run('Types of the type tests', 'npx', ['tsc', '--noEmit', '-p', 'type-tests']);
await checkCrates();
console.log('\n▸ Licences of npm packages');
const { version } = JSON.parse(await readFile(join(root, 'js/convoy/package.json'), 'utf8'));
const checked = await checkLicences();
console.log(`  ${checked} packages may be used with @avvos/convoy ${version}`);
await checkLimits();
console.log('\n▸ docs/limits.md lists the limits of the code');
await buildSite();
console.log('\n✓ All checks passed.');
