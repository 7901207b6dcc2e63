// Writes the API reference, docs/reference/api/, from the TSDoc of everything that js/convoy/package.json exports. Git
// ignores these pages, so they cannot be out of date. An export or a property without documentation is an error.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Application, Logger, LogLevel } from 'typedoc';

/**
 * @param {string} root the root of the repository
 * @returns {Promise<string[]>} problems, one line each; the pages are complete if there are none
 */
export async function writeApiReference(root) {
  const entries = await entryPoints(root);
  const app = await Application.bootstrapWithPlugins({
    entryPoints: entries.map(({ source }) => join(root, 'js/convoy', source)),
    tsconfig: join(root, 'js/convoy/tsconfig.json'),
    out: join(root, 'docs/reference/api'),
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
      module: ({ rawName }) => importOf(rawName),
    },
  });
  const problems = new Problems();
  app.logger = problems;
  const project = await app.convert();
  if (project === undefined) return problems.lines;
  // The names of modules are paths below their common folder: `index`, `client/index`, of which TypeDoc drops `/index`.
  for (const child of project.children ?? []) {
    const entry = entries.find(({ module }) => module === child.name);
    if (entry === undefined) problems.lines.push(`${child.name} is the source of no entry point`);
    else child.name = entry.page;
  }
  app.validate(project);
  await app.generateOutputs(project);
  await writeFile(join(root, 'docs/reference/api/index.md'), overview(project.children ?? [], entries));
  return problems.lines;
}

/** The first page: the entry points with what they are for, from the comments at the top of their sources. */
function overview(modules, entries) {
  const rows = entries.map(({ page: name }) => {
    const { comment } = modules.find((module) => module.name === name);
    const text = (comment?.summary ?? []).map((part) => part.text).join('');
    const [paragraph] = text.replace(/^`[^`]*`: /, '').split('\n\n');
    return `| [\`${importOf(name)}\`](${name}.md) | ${paragraph.replaceAll('\n', ' ')} |`;
  });
  return `# API reference

What each entry point of the package exports, from the comments in its sources. The [guides](../../functions.md) explain
how the parts work together.

| import | contents |
|---|---|
${rows.join('\n')}
`;
}

/** A page is not below that of another entry point: `react.html` beside a folder `react/` would have two meanings. */
function pageOf(path) {
  return path === '.' ? 'convoy' : path.slice(2).replaceAll('/', '-');
}

function importOf(page) {
  return page === 'convoy' ? '@avvos/convoy' : `@avvos/convoy/${page.replaceAll('-', '/')}`;
}

/** The entry points of the package: the file of each, TypeDoc's name for it, and that of its page. */
async function entryPoints(root) {
  const { exports } = JSON.parse(await readFile(join(root, 'js/convoy/package.json'), 'utf8'));
  return Object.entries(exports)
    .filter(([, target]) => typeof target === 'object')
    .map(([path, { types }]) => {
      const source = types.replace(/^\.\/dist\//, 'src/').replace(/\.d\.ts$/, '.ts');
      const module = source.replace(/^src\//, '').replace(/(^index|\/index)?\.ts$/, '') || 'index';
      return { source, module, page: pageOf(path) };
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
