/**
 * Decides where the embedded Postgres stores its data and which user runs it. Pure.
 *
 * Postgres refuses to run as root, so under root an unprivileged user runs it. That user must be able to enter every
 * folder above its data and its binaries; where it cannot (a project inside /root), both move to `/var/lib/convoy`.
 * The same facts always give the same placement, so a second start finds the data of the first.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';

/** The parts of a line of /etc/passwd that are needed here. */
export interface SystemUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The parts of a folder's `stat` that are needed here. */
export interface FolderFacts {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface PlacementFacts {
  /** The user this process runs as; 0 is root. */
  readonly uid: number;
  readonly users: readonly SystemUser[];
  /** The folder for local state (`<project>/.convoy`), as a real path. */
  readonly dataRoot: string;
  /** Every folder from `/` down to and including `dataRoot`. */
  readonly dataRootFolders: readonly FolderFacts[];
  /** Every folder from `/` down to and including the one with `bin`, `lib` and `share`. */
  readonly binariesFolders: readonly FolderFacts[];
  /** The owners of existing homes, by path. */
  readonly homeOwners: ReadonlyMap<string, number>;
}

export interface Placement {
  /** The folder that holds the cluster, owned by the user that runs it. */
  readonly home: string;
  /** The user that runs Postgres, or null for the user of this process. */
  readonly runAs: SystemUser | null;
  /** The folder for a copy of the binaries when those in node_modules cannot be used. */
  readonly copyTo: string;
  /** True when `runAs` cannot reach the binaries in node_modules. */
  readonly mustCopy: boolean;
}

/** The folder for data and binaries under root when other users cannot enter the project's folder. */
export const systemFolder = '/var/lib/convoy';

/** Unprivileged users of common systems, the least privileged first. */
const unprivileged = ['nobody', 'postgres', 'daemon'];

/** The two folders in which a cluster of this project may be stored; the placement chooses one. */
export function possibleHomes(dataRoot: string): { inProject: string; inSystem: string } {
  const hash = createHash('sha256').update(dataRoot).digest('hex').slice(0, 16);
  return { inProject: path.join(dataRoot, 'postgres'), inSystem: path.join(systemFolder, hash) };
}

/** Chooses folder and user. Throws an Error for the developer when there is no unprivileged user to run Postgres. */
export function choosePlacement(facts: PlacementFacts): Placement {
  const { inProject, inSystem } = possibleHomes(facts.dataRoot);
  if (facts.uid !== 0) {
    return { home: inProject, runAs: null, copyTo: path.join(inProject, 'binaries'), mustCopy: false };
  }
  const copyTo = path.join(systemFolder, 'binaries');
  const place = (home: string, runAs: SystemUser): Placement => ({
    home,
    runAs,
    copyTo,
    mustCopy: !canEnter(runAs, facts.binariesFolders),
  });

  const projectUser = candidates(facts, inProject).find((user) => canEnter(user, facts.dataRootFolders));
  if (projectUser) return place(inProject, projectUser);
  const systemUser = candidates(facts, inSystem)[0];
  if (systemUser) return place(inSystem, systemUser);
  throw new Error(
    `Postgres refuses to run as root, and this system has none of the users ${unprivileged.join(', ')} to run it as. ` +
      'Run convoy as an ordinary user, or set DATABASE_URL to your own Postgres.',
  );
}

/** The users that may run Postgres: the owner of existing data, or the unprivileged users for new data. */
function candidates(facts: PlacementFacts, home: string): SystemUser[] {
  const owner = facts.homeOwners.get(home);
  const ofOwner = facts.users.find((user) => user.uid === owner && user.uid !== 0);
  if (ofOwner) return [ofOwner];
  return unprivileged.flatMap((name) => facts.users.find((user) => user.name === name && user.uid !== 0) ?? []);
}

function canEnter(user: SystemUser, folders: readonly FolderFacts[]): boolean {
  return folders.every((folder) => {
    const shift = folder.uid === user.uid ? 6 : folder.gid === user.gid ? 3 : 0;
    return ((folder.mode >> shift) & 0o1) !== 0;
  });
}

/** Parses the users in the text of /etc/passwd; skips malformed lines. */
export function parsePasswd(text: string): SystemUser[] {
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    if (!name || !uid || !gid || !/^-?\d+$/.test(uid) || !/^-?\d+$/.test(gid)) return [];
    // macOS writes nobody as -2, which the kernel reads as an unsigned number.
    return [{ name, uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }];
  });
}
