// Writes the API reference, docs/reference/api/, from the TSDoc of everything that the packages export. Git ignores these
// pages, so they cannot be out of date. An export or a property without documentation is an error.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Application, Logger, LogLevel } from 'typedoc';

/** The packages, and the page of the first entry point of each. */
const PACKAGES = [
  { folder: 'js/convoy', page: 'convoy', prefix: '' },
  { folder: 'js/convoy-auth', page: 'auth', prefix: 'auth-' },
];

/**
 * @param {string} root the root of the repository
 * @returns {Promise<string[]>} problems, one line each; the pages are complete if there are none
 */
export async function writeApiReference(root) {
  const problems = new Problems();
  const rows = [];
  for (const [at, each] of PACKAGES.entries()) {
    const entries = await entryPoints(root, each);
    const modules = await writePages({ root, folder: each.folder, entries, problems, isFirst: at === 0 });
    if (modules === undefined) return problems.lines;
    rows.push(...entries.map((entry) => overviewRow(modules, entry)));
  }
  await writeFile(join(root, 'docs/reference/api/index.md'), overview(rows));
  return problems.lines;
}

/** Writes the pages of a package; returns its modules, or undefined if it does not compile. */
async function writePages({ root, folder, entries, problems, isFirst }) {
  const app = await Application.bootstrapWithPlugins({
    entryPoints: entries.map(({ source }) => join(root, folder, source)),
    tsconfig: join(root, folder, 'tsconfig.json'),
    out: join(root, 'docs/reference/api'),
    cleanOutputDir: isFirst,
    plugin: ['typedoc-plugin-markdown'],
    logLevel: 'Warn',
    router: 'module',
    readme: 'none',
    disableSources: true,
    excludeInternal: true,
    validation: { notExported: false, invalidLink: true, notDocumented: true },
    hideBreadcrumbs: true,
    hidePageHeader: true,
    entryFileName: 'index',
    parametersFormat: 'table',
    interfacePropertiesFormat: 'table',
    classPropertiesFormat: 'table',
    typeAliasPropertiesFormat: 'table',
    typeDeclarationFormat: 'table',
    useCodeBlocks: true,
    expandParameters: true,
    tableColumnSettings: { hideModifiers: true },
    groupOrder: ['Functions', 'Classes', 'Interfaces', 'Type Aliases', 'Variables'],
    pageTitleTemplates: {
      index: 'API reference',
      module: ({ rawName }) => entries.find(({ page }) => page === rawName).specifier,
    },
  });
  app.logger = problems;
  const project = await app.convert();
  if (project === undefined) return undefined;
  // The names of modules are paths below their common folder: `index`, `client/index`, of which TypeDoc drops `/index`.
  for (const child of project.children ?? []) {
    const entry = entries.find(({ module }) => module === child.name);
    if (entry === undefined) problems.lines.push(`${child.name} is the source of no entry point`);
    else child.name = entry.page;
  }
  app.validate(project);
  await app.generateOutputs(project);
  return project.children ?? [];
}

/** An entry point with what it is for, from the comment at the top of its source. */
function overviewRow(modules, { page, specifier }) {
  const { comment } = modules.find((module) => module.name === page);
  const text = (comment?.summary ?? []).map((part) => part.text).join('');
  const [paragraph] = text.replace(/^`[^`]*`: /, '').split('\n\n');
  return `| [\`${specifier}\`](${page}.md) | ${paragraph.replaceAll('\n', ' ')} |`;
}

/** The first page. */
function overview(rows) {
  return `# API reference

What each entry point of the packages exports, from the comments in its sources. The [guides](../../functions.md)
explain how the parts work together.

| import | contents |
|---|---|
${rows.join('\n')}
`;
}

/** The entry points of a package: the file of each, TypeDoc's name for it, its page, and what programs import. */
async function entryPoints(root, { folder, page, prefix }) {
  const { name, exports } = JSON.parse(await readFile(join(root, folder, 'package.json'), 'utf8'));
  return Object.entries(exports)
    .filter(([, target]) => typeof target === 'object')
    .map(([path, { types }]) => {
      const source = types.replace(/^\.\/dist\//, 'src/').replace(/\.d\.ts$/, '.ts');
      const module = source.replace(/^src\//, '').replace(/(^index|\/index)?\.ts$/, '') || 'index';
      // A page is not below that of another entry point: `react.html` beside a folder `react/` would have two meanings.
      const own = path === '.' ? page : `${prefix}${path.slice(2).replaceAll('/', '-')}`;
      return { source, module, page: own, specifier: path.replace('.', name) };
    });
}

/** Collects warnings and errors. */
class Problems extends Logger {
  lines = [];

  log(message, level) {
    if (level < LogLevel.Warn || isInsideType(message)) return;
    this.lines.push(stripVTControlCharacters(message));
  }
}

/** Members of an unnamed type are described with the type that contains them. */
function isInsideType(message) {
  return /\.__type\.\S+ \(\w+\), defined in .* does not have any documentation/.test(message);
}
