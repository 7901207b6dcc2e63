/**
 * The first minutes with Convoy: creates a project with the published `create-convoy-app` and each package manager, in the homes
 * of different users, starts it, and sees a message and an edited function arrive.
 */
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { runToEnd } from './install/processes.mjs';
import { environment, publishPackages } from './install/published.mjs';
import { linkManager } from './install/tools.mjs';
import { freePort, Running, ScaffoldedApp } from './scaffolded-app.js';

/** Per package manager: the command that creates a project, and the start of the command that runs a script. */
const MANAGERS = {
  npm: { create: 'npx --yes create-convoy-app my-app', script: 'npm run', separator: '--' },
  pnpm: { create: 'pnpm create convoy-app my-app', script: 'pnpm run', separator: '' },
  'yarn 1': { create: 'yarn create convoy-app my-app', script: 'yarn run', separator: '' },
  'yarn 4': { create: 'yarn dlx create-convoy-app my-app', script: 'yarn run', separator: '' },
  bun: { create: 'bun create convoy-app my-app', script: 'bun run', separator: '' },
};

const isRoot = process.getuid?.() === 0;
/** Debian's `nobody`, who owns nothing. */
const ORDINARY_USER = 65_534;

/** Homes by their mode, and the user who works there; `null` is the user of the test. */
const HOMES = [
  ...Object.keys(MANAGERS).map((manager) => ({ manager, home: 'a readable home', mode: 0o755, user: null })),
  { manager: 'npm', home: 'a private home', mode: 0o700, user: null },
  // Only root can become another user.
  ...(isRoot ? [{ manager: 'npm', home: 'the home of an ordinary user', mode: 0o700, user: ORDINARY_USER }] : []),
];

// Seven installations, each with 24 MB of Postgres: minutes.
describe.skipIf(process.env.CONVOY_TEST_LONG !== '1')('a project of create-convoy-app', { timeout: 600_000 }, () => {
  let published;

  beforeAll(async () => {
    published = await publishPackages();
  }, 600_000);

  afterAll(() => published?.remove());

  test.each(HOMES)('is created with $manager in $home, and live', async ({ manager, home: kind, mode, user }) => {
    const { create, script, separator } = MANAGERS[manager];
    const home = path.join(published.folder, `${manager} ${kind}`.replaceAll(' ', '-'));
    await mkdir(home);
    await linkManager(manager, published.tools, path.join(home, 'bin'));
    if (user !== null) await chown(home, user, user);
    await chmod(home, mode);
    const env = environment(home, published.url);
    const as = user === null ? {} : { uid: user, gid: user };
    const shell = (command, cwd) => runToEnd(command, [], { cwd, env, shell: true, ...as });

    const created = await shell(create, home);
    expect(created, created.output).toMatchObject({ code: 0 });
    expect(created.output).toMatch(new RegExp(`Now type:\\s+cd my-app\\s+${manager.split(' ')[0]} (run )?dev\\s`));
    const app = new ScaffoldedApp(path.join(home, 'my-app'), created.output);

    const startedAt = performance.now();
    const command = `${script} dev ${separator} --port ${await freePort()} --strictPort`;
    const dev = new Running(spawn(command, [], { cwd: app.folder, env, shell: true, detached: true, ...as }));
    onTestFinished(() => dev.stop());
    const address = (await dev.prints(/Local:\s+(\S+)/))[1];
    expect(await call(address, 'query/messages.list', {})).toEqual([]);

    const results = subscribe(address, 'messages.list');
    onTestFinished(() => results.return());
    expect((await results.next()).value).toEqual([]);
    await call(address, 'mutation/messages.send', { author: 'Ada', body: 'Hello' });
    expect((await results.next()).value).toMatchObject([{ author: 'Ada', body: 'Hello' }]);
    await app.edit('convoy/functions/messages.ts', 'take(30)', 'take(0)');
    expect((await results.next()).value).toEqual([]);

    const checked = await shell(`${script} check`, app.folder);
    expect(checked, checked.output).toMatchObject({ code: 0 });
    console.log(`${manager}, ${kind}: ${((performance.now() - startedAt) / 1_000).toFixed(1)} s after the downloads`);
  });
});

async function call(address, name, input) {
  const response = await fetch(`${address}api/${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(input),
  });
  const answer = await response.json();
  if (!answer.ok) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

/** The results of a live query, as they are pushed. */
async function* subscribe(address, name) {
  const response = await fetch(`${address}api/subscribe?name=${name}&args={}`);
  let text = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const events = text.split('\n\n');
    text = events.pop();
    for (const event of events) {
      const frame = /^data: (.*)$/m.exec(event)?.[1];
      if (frame !== undefined) yield JSON.parse(frame).data;
    }
  }
}
