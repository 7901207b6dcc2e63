/**
 * Decides, from facts alone, where the embedded Postgres lives and which user runs it.
 *
 * Postgres refuses to run as root, so root hands it to an unprivileged user. That user must be able to enter every
 * folder above its data and its binaries; where it cannot (a project inside /root), both move to `/var/lib/convoy`.
 * The same facts always give the same answer, so a second start finds the data of the first.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';

/** A line of /etc/passwd, as far as it matters here. */
export interface SystemUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** What `stat` says about one folder. */
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
  /** The owner of a home made earlier, by its path; a home that does not exist is absent. */
  readonly homeOwners: ReadonlyMap<string, number>;
}

export interface Placement {
  /** The folder that holds the cluster, owned by whoever runs it. */
  readonly home: string;
  /** The user to switch to, or null to stay who we are. */
  readonly runAs: SystemUser | null;
  /** Where a copy of the binaries goes when those in node_modules cannot be used as they are. */
  readonly copyTo: string;
  /** True when the binaries in node_modules are out of reach for `runAs`. */
  readonly mustCopy: boolean;
}

/** Data and binaries of a root user go here when the project's own folder is closed to others. */
export const systemFolder = '/var/lib/convoy';

/** Unprivileged users found on ordinary systems, the least entitled first. */
const unprivileged = ['nobody', 'postgres', 'daemon'];

/** The two folders in which a cluster of this project may live; which one is the placement's choice. */
export function possibleHomes(dataRoot: string): { beside: string; apart: string } {
  const hash = createHash('sha256').update(dataRoot).digest('hex').slice(0, 16);
  return { beside: path.join(dataRoot, 'postgres'), apart: path.join(systemFolder, hash) };
}

/** Throws an Error with a sentence for the developer when root has no user to hand Postgres to. */
export function choosePlacement(facts: PlacementFacts): Placement {
  const { beside, apart } = possibleHomes(facts.dataRoot);
  if (facts.uid !== 0) {
    return { home: beside, runAs: null, copyTo: path.join(beside, 'binaries'), mustCopy: false };
  }
  const copyTo = path.join(systemFolder, 'binaries');
  const place = (home: string, runAs: SystemUser): Placement => ({
    home,
    runAs,
    copyTo,
    mustCopy: !canEnter(runAs, facts.binariesFolders),
  });

  const besideUser = candidates(facts, beside).find((user) => canEnter(user, facts.dataRootFolders));
  if (besideUser) return place(beside, besideUser);
  const apartUser = candidates(facts, apart)[0];
  if (apartUser) return place(apart, apartUser);
  throw new Error(
    `Postgres refuses to run as root, and this system has none of the users ${unprivileged.join(', ')} to run it as. ` +
      'Run convoy as an ordinary user, or set DATABASE_URL to a Postgres of your own.',
  );
}

/** Whoever owns the data goes on owning it; new data go to the least entitled user. */
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

/** Reads the users out of the text of /etc/passwd; lines it cannot read are left out. */
export function parsePasswd(text: string): SystemUser[] {
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    if (!name || !uid || !gid || !/^-?\d+$/.test(uid) || !/^-?\d+$/.test(gid)) return [];
    // macOS writes nobody as -2, which the kernel reads as an unsigned number.
    return [{ name, uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }];
  });
}
