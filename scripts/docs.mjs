// The documentation site. Its packages are installed in docs/site/, so that the other scripts do not need them.
//
//   node scripts/docs.mjs          serves the pages of docs/, and shows changes at once
//   node scripts/docs.mjs build    writes docs/site/dist; fails on dead links and on exports without documentation
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureInstalled } from './install.mjs';
import { root, run, StepError } from './run.mjs';

const site = join(root, 'docs/site');

/** Builds the site into docs/site/dist. */
export async function buildSite() {
  await prepare();
  await vitepress('Building the documentation site', 'build');
}

async function serveSite() {
  await prepare();
  await vitepress('Serving the documentation', 'dev');
}

async function prepare() {
  // The API reference reads the sources of the package, whose types come from its dependencies.
  await ensureInstalled();
  await ensureInstalled(site);
  await linkPackages();
  console.log('\n▸ Writing the API reference');
  const { writeApiReference } = await import(join(site, 'reference.mjs'));
  const problems = await writeApiReference(root);
  if (problems.length > 0) throw new StepError(`The API reference has problems:\n  ${problems.join('\n  ')}`);
}

/** Pages are compiled to modules that import Vue, which has to be found from docs/. */
async function linkPackages() {
  // A junction needs no privilege on Windows; elsewhere the type has no effect.
  await symlink('site/node_modules', join(root, 'docs/node_modules'), 'junction').catch((error) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

function vitepress(title, command) {
  return run(title, process.execPath, [join(site, 'node_modules/vitepress/bin/vitepress.js'), command, site]);
}

if (process.argv[1] === import.meta.filename) {
  if (process.argv[2] === 'build') await buildSite();
  else await serveSite();
}
