import { describe, expect, it } from 'vitest';
import { choosePlacement, type FolderFacts, type PlacementFacts, parsePasswd, possibleHomes } from './data-location.js';

const users = parsePasswd(
  'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\npostgres:x:101:104::/:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n',
);
const folder = (path: string, mode = 0o755, uid = 0, gid = 0): FolderFacts => ({
  path,
  mode: 0o40000 | mode,
  uid,
  gid,
});
const open = [folder('/'), folder('/srv'), folder('/srv/app'), folder('/srv/app/.convoy')];
const closed = [folder('/'), folder('/root', 0o700), folder('/root/app'), folder('/root/app/.convoy')];

function facts(changes: Partial<PlacementFacts>): PlacementFacts {
  const dataRootFolders = changes.dataRootFolders ?? open;
  const dataRoot = dataRootFolders.at(-1)?.path ?? '/';
  return { uid: 0, users, dataRoot, dataRootFolders, binariesFolders: open, homeOwners: new Map(), ...changes };
}

describe('the placement of the embedded Postgres', () => {
  it('is in the project, as the current user, for an ordinary user', () => {
    const placement = choosePlacement(facts({ uid: 1000, dataRootFolders: closed, binariesFolders: closed }));
    expect(placement).toEqual({
      home: '/root/app/.convoy/postgres',
      runAs: null,
      copyTo: '/root/app/.convoy/postgres/binaries',
      mustCopy: false,
    });
  });

  it('is in the project, as nobody, for root in a folder that others may enter', () => {
    const placement = choosePlacement(facts({}));
    expect(placement).toMatchObject({ home: '/srv/app/.convoy/postgres', runAs: { name: 'nobody' }, mustCopy: false });
  });

  it('is in /var/lib/convoy, with a copy of the binaries, for root in its own closed home', () => {
    const placement = choosePlacement(facts({ dataRootFolders: closed, binariesFolders: closed }));
    expect(placement.home).toMatch(/^\/var\/lib\/convoy\/[0-9a-f]{16}$/);
    expect(placement).toMatchObject({
      runAs: { name: 'nobody' },
      mustCopy: true,
      copyTo: '/var/lib/convoy/binaries',
    });
  });

  it('differs between projects and stays the same for one', () => {
    expect(possibleHomes('/root/a/.convoy').inSystem).not.toBe(possibleHomes('/root/b/.convoy').inSystem);
    expect(possibleHomes('/root/a/.convoy')).toEqual(possibleHomes('/root/a/.convoy'));
  });

  it('keeps the user that already owns the data', () => {
    const anas = [folder('/'), folder('/home'), folder('/home/ana', 0o700, 1000, 1000)];
    const placement = choosePlacement(
      facts({ dataRootFolders: anas, homeOwners: new Map([['/home/ana/postgres', 1000]]) }),
    );
    expect(placement).toMatchObject({ home: '/home/ana/postgres', runAs: { name: 'ana', uid: 1000 } });
  });

  it('checks the permissions of the owner and the group before those of others', () => {
    const ofNobody = [folder('/'), folder('/srv', 0o077, 65534, 0)];
    const ofItsGroup = [folder('/'), folder('/srv', 0o707, 0, 65534)];
    for (const dataRootFolders of [ofNobody, ofItsGroup]) {
      const { runAs } = choosePlacement(facts({ dataRootFolders }));
      expect(runAs?.name).toBe('postgres');
    }
  });

  it('is an error with instructions for root on a system without a suitable user', () => {
    expect(() => choosePlacement(facts({ users: parsePasswd('root:x:0:0::/root:/bin/sh\n') }))).toThrow(
      /nobody, postgres, daemon.*DATABASE_URL/,
    );
  });
});

describe('reading /etc/passwd', () => {
  it('accepts the negative ids of macOS and skips malformed lines', () => {
    const text = '# comment\nnobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\nbroken:x::\n+::::::\n';
    expect(parsePasswd(text)).toEqual([{ name: 'nobody', uid: 4294967294, gid: 4294967294 }]);
  });
});
