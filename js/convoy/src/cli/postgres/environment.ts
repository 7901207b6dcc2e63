/** Collects the facts about the machine on which `data-location.ts` bases its decision. */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { isErrno } from '../errno.js';
import { type FolderFacts, type PlacementFacts, parsePasswd, possibleHomes } from './data-location.js';

/** Collects the facts. Both folders must exist and be real paths. */
export async function collectPlacementFacts(dataRoot: string, binariesFolder: string): Promise<PlacementFacts> {
  const { inProject, inSystem } = possibleHomes(dataRoot);
  const homeOwners = new Map<string, number>();
  for (const home of [inProject, inSystem]) {
    const owner = await ownerOf(home);
    if (owner !== null) homeOwners.set(home, owner);
  }
  return {
    uid: process.geteuid?.() ?? -1,
    users: parsePasswd(await passwd()),
    dataRoot,
    dataRootFolders: await foldersDownTo(dataRoot),
    binariesFolders: await foldersDownTo(binariesFolder),
    homeOwners,
  };
}

async function passwd(): Promise<string> {
  try {
    return await readFile('/etc/passwd', 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}

async function ownerOf(folder: string): Promise<number | null> {
  try {
    return (await stat(folder)).uid;
  } catch (error) {
    // A folder that cannot be inspected counts as missing; creating it then fails with the reason.
    if (isErrno(error, 'ENOENT', 'EACCES')) return null;
    throw error;
  }
}

async function foldersDownTo(folder: string): Promise<FolderFacts[]> {
  const facts: FolderFacts[] = [];
  for (let at = folder; ; at = path.dirname(at)) {
    const { mode, uid, gid } = await stat(at);
    facts.unshift({ path: at, mode, uid, gid });
    if (at === path.dirname(at)) return facts;
  }
}
