/** Creates a Git repository with a first commit. */
import { runCommand } from './run-command.js';

/** For machines on which Git does not know who commits. */
const FALLBACK_IDENTITY = ['-c', 'user.name=create-convoy-app', '-c', 'user.email=create-convoy-app@localhost'];

export type GitOutcome = 'created' | 'not installed' | 'already in a repository';

export async function createRepository(folder: string): Promise<GitOutcome> {
  const git = (...args: string[]) => runCommand('git', args, folder);
  const succeeds = (...args: string[]) =>
    git(...args).then(
      () => true,
      () => false,
    );
  if (!(await succeeds('--version'))) return 'not installed';
  if (await succeeds('rev-parse', '--is-inside-work-tree')) return 'already in a repository';
  await git('init', '--quiet');
  // Git before 2.28 has no option for the name of the first branch.
  await git('symbolic-ref', 'HEAD', 'refs/heads/main');
  await git('add', '--all');
  const identity = (await succeeds('var', 'GIT_COMMITTER_IDENT')) ? [] : FALLBACK_IDENTITY;
  const commit = ['commit', '--quiet', '--no-verify', '--message', 'Create the app with create-convoy-app'];
  await git(...identity, '-c', 'commit.gpgsign=false', ...commit);
  return 'created';
}
