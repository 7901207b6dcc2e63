// Debian systems below a folder: a base made by debootstrap, and overlays of it. Needs
// root, debootstrap and systemd-nspawn.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runToEnd } from '../../tests/install/processes.mjs';

const RELEASE = 'trixie';
const PACKAGES = 'ca-certificates,curl,dbus,nginx-light,nodejs,openssl,postgresql,systemd,systemd-sysv';

/** Runs a program, and throws with its output where it fails. */
export async function must(command, args, options = {}) {
  const { code, output } = await runToEnd(command, args, { cwd: '/', ...options });
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${output}`);
  return output;
}

/** The base system: made once, and complete or absent. */
export async function makeBase(folder, mirror) {
  const base = join(folder, 'base');
  if (existsSync(base)) return { base, isNew: false };
  await mkdir(folder, { recursive: true });
  const draft = join(folder, 'base.new');
  await rm(draft, { recursive: true, force: true });
  await must('debootstrap', ['--variant=minbase', `--include=${PACKAGES}`, RELEASE, draft, mirror]);
  await rm(join(draft, 'var/cache/apt/archives'), { recursive: true, force: true });
  await rename(draft, base);
  return { base, isNew: true };
}

/** A writable copy of a system that shares its unchanged files. */
export class Overlay {
  constructor(folder) {
    this.path = join(folder, 'root');
  }

  static async mount(folder, lower) {
    const overlay = new Overlay(folder);
    for (const name of ['upper', 'work', 'root']) await mkdir(join(folder, name), { recursive: true });
    const options = `lowerdir=${lower},upperdir=${join(folder, 'upper')},workdir=${join(folder, 'work')}`;
    await must('mount', ['-t', 'overlay', 'overlay', '-o', options, overlay.path]);
    return overlay;
  }

  /** Runs a program in it, with the network of this machine. */
  run(args, { env = {}, cwd = '/', user = 'root' } = {}) {
    const words = ['--userspec', user, this.path, '/usr/bin/env', '-C', cwd, ...args];
    return must('/usr/sbin/chroot', words, {
      env: { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', HOME: '/root', ...env },
    });
  }

  /** Gives it the devices and the resolver of this machine. */
  async connect() {
    await copyFile('/etc/resolv.conf', join(this.path, 'etc/resolv.conf'));
    for (const [type, at] of [
      ['proc', 'proc'],
      ['devtmpfs', 'dev'],
    ]) {
      await must(
        'mount',
        type === 'proc' ? ['-t', 'proc', 'proc', join(this.path, at)] : ['--bind', '/dev', join(this.path, at)],
      );
    }
  }
}

/** Unmounts and deletes every overlay below a folder; the base stays. */
export async function removeOverlays(folder) {
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  const below = mounts
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((at) => at.startsWith(`${folder}/`));
  // The newest mount first.
  for (const at of below.reverse()) await must('umount', [at]);
  for (const name of await readdir(folder).catch(() => [])) {
    if (name !== 'base') await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** A system that runs, with its own systemd and its own network, which is the loopback address alone. */
export class Booted {
  #leader;
  #ended;

  constructor(leader, ended) {
    this.#leader = leader;
    this.#ended = ended;
  }

  static async boot(path) {
    const words = [
      '--quiet',
      '--register=no',
      '--keep-unit',
      '--private-network',
      '--link-journal=no',
      '-D',
      path,
      '-b',
    ];
    const env = { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' };
    const nspawn = spawn('systemd-nspawn', words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = new Promise((resolve) => nspawn.once('close', resolve));
    let output = '';
    for (const stream of [nspawn.stdout, nspawn.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    let hasEnded = false;
    void ended.then(() => {
      hasEnded = true;
    });
    for (;;) {
      if (hasEnded) throw new Error(`systemd-nspawn ended:\n${output}`);
      const leader = await leaderOf(nspawn.pid);
      if (leader !== null) {
        const booted = new Booted(leader, ended);
        // Fails until the manager takes requests, then waits until every unit has started, or one has failed.
        const { output: state } = await booted.try('systemctl', ['is-system-running', '--wait']);
        if (/running|degraded/.test(state)) return booted;
      }
      await sleep(100);
    }
  }

  /** Runs a program in the system; resolves to exit code and output. */
  try(command, args) {
    const words = ['-t', String(this.#leader), '-m', '-u', '-i', '-n', '-p', '--', command, ...args];
    return runToEnd('nsenter', words, { cwd: '/', env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LANG: 'C.UTF-8' } });
  }

  /** Runs a program in the system. */
  async run(command, ...args) {
    const { code, output } = await this.try(command, args);
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${output}`);
    return output;
  }

  /** Starts a program of this machine in the network of the system. */
  spawnInNetwork(command, args, options) {
    return spawn('nsenter', ['-t', String(this.#leader), '-n', '--', command, ...args], options);
  }

  async stop() {
    await this.try('systemctl', ['poweroff', '--no-block']);
    await this.#ended;
  }
}

/** The process with the number 1 of the system that this systemd-nspawn runs; null before it starts. */
async function leaderOf(nspawn) {
  const processes = new Map();
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    const [, name, parent] = /^\d+ \((.*)\) \S (\d+)/s.exec(stat) ?? [];
    if (name !== undefined) processes.set(Number(pid), { name, parent: Number(parent) });
  }
  const found = [...processes].find(([, { name, parent }]) => name === 'systemd' && parent === nspawn);
  return found?.[0] ?? null;
}
