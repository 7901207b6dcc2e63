/** The templates and examples, and where their files are. */
import { existsSync, readdirSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Each is a folder of this name in `templates/`. The first one is the default. */
export const TEMPLATES = {
  'react-vite': { title: 'React and Vite', hint: 'a live page, one command' },
  nextjs: { title: 'Next.js', hint: 'a page that is rendered on the server, and then live' },
  express: { title: 'Express', hint: 'a server with routes of your own, and a live page' },
  node: { title: 'Node', hint: 'a server without a page, and a client program' },
} as const;

export type TemplateName = keyof typeof TEMPLATES;

export const DEFAULT_TEMPLATE: TemplateName = 'react-vite';

const packageFolder = fileURLToPath(new URL('..', import.meta.url));

/** Contents of a project that are not part of it. */
const LOCAL = ['node_modules', 'dist', '.next', 'next-env.d.ts', '.convoy', 'convoy-build'];

/** In the published package the examples are copied beside the templates; in the repository they are at its root. */
const examplesFolder = [path.join(packageFolder, 'examples'), path.join(packageFolder, '../../examples')].find((each) =>
  existsSync(each),
);

export function exampleNames(): string[] {
  return examplesFolder === undefined ? [] : readdirSync(examplesFolder).sort();
}

export interface ProjectSource {
  readonly folder: string;
  /** Relative paths in the new project → in `folder`. */
  readonly files: ReadonlyMap<string, string>;
}

export function templateSource(name: TemplateName): Promise<ProjectSource> {
  return sourceIn(path.join(packageFolder, 'templates', name));
}

export function exampleSource(name: string): Promise<ProjectSource> {
  return sourceIn(path.join(examplesFolder ?? '', name));
}

async function sourceIn(folder: string): Promise<ProjectSource> {
  const files = (await filesBelow(folder, ''))
    // npm leaves `.gitignore` files out of packages.
    .map((file) => [file.replace(/(^|[\\/])_gitignore$/, '$1.gitignore'), file] as const);
  return { folder, files: new Map(files.sort()) };
}

/** Not `readdir` with `recursive`: with Yarn Plug'n'Play the folder is in a zip file, where the entries lack their parent. */
async function filesBelow(folder: string, below: string): Promise<string[]> {
  const entries = await readdir(path.join(folder, below), { withFileTypes: true });
  const paths = entries
    .filter(({ name }) => !LOCAL.includes(name))
    .map((entry) => {
      const file = path.join(below, entry.name);
      return entry.isDirectory() ? filesBelow(folder, file) : [file];
    });
  return (await Promise.all(paths)).flat();
}
