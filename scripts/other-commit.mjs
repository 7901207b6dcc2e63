// Builds another commit of this repository, to compare it with the working tree.
import { execFile } from 'node:child_process';
import { access, copyFile, cp, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { platform } from './platform.mjs';
import { root, run, StepError } from './run.mjs';

const exec = promisify(execFile);
const SERVERS = 'tests/bench/servers';

/**
 * Unpacks and builds a commit below `target`, once per commit. Uses the benchmark
 * servers of this tree, so that both sides run the same program.
 *
 * @param {string} commit anything git resolves
 * @param {{ target: string, profile: 'release' | 'dev' }} build
 * @returns {Promise<{ tree: string, addon: string, name: string }>}
 */
export async function prepareCommit(commit, { target, profile }) {
  const name = await resolve(commit);
  const tree = join(target, 'bench', `commit-${name}`);
  const addon = join(tree, `convoy-${profile}.node`);
  if (!(await exists(join(tree, 'node_modules')))) await unpack(name, tree);
  if (!(await exists(addon))) {
    const cargo = ['build', '--locked', '--profile', profile, '--package', 'convoy-node'];
    await run(`Building the engine of ${name} (${profile})`, 'cargo', cargo, {
      cwd: tree,
      env: { CARGO_TARGET_DIR: target },
    });
    await copyFile(join(target, profile === 'dev' ? 'debug' : profile, platform().library), addon);
  }
  await cp(join(root, SERVERS), join(tree, SERVERS), { recursive: true });
  return { tree, addon, name };
}

async function resolve(commit) {
  try {
    const { stdout } = await exec('git', ['rev-parse', '--short=12', '--verify', `${commit}^{commit}`], { cwd: root });
    return stdout.trim();
  } catch (error) {
    throw new StepError(`git cannot resolve the commit \`${commit}\`: ${error.stderr?.trim() ?? error.message}`);
  }
}

/** Unpacks under another name and renames, so that an incomplete tree is never used. */
async function unpack(name, tree) {
  const fresh = `${tree}.new`;
  await rm(fresh, { recursive: true, force: true });
  await rm(tree, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true });
  await run(`Unpacking ${name}`, 'sh', ['-c', 'git archive "$1" | tar -x -C "$2"', 'sh', name, fresh]);
  await run(`Installing the npm packages of ${name}`, 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: fresh,
  });
  await run(`Building the TypeScript package of ${name}`, 'npx', ['tsc', '-p', 'js/convoy'], { cwd: fresh });
  await rename(fresh, tree);
}

async function exists(path) {
  return access(path).then(
    () => true,
    (error) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}
