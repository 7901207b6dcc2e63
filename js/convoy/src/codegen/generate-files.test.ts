import { describe, expect, it } from 'vitest';
import { generateFiles } from './generate-files.js';
import type { Project, ProjectFunction } from './project.js';

const leaf = (name: string, changes: Partial<ProjectFunction> = {}): ProjectFunction => {
  const segments = name.split('.');
  const exportName = segments.pop() ?? '';
  const module = `../functions/${segments.join('/') || 'index'}.js`;
  return { name, kind: 'query', internal: false, module, exportName, ...changes };
};

const project: Project = {
  schema: { module: '../schema.js', exportName: 'default' },
  tables: [
    { name: 'messages', isUnion: false },
    { name: 'audit_log', isUnion: false },
    { name: 'auditLog', isUnion: true },
  ],
  functions: [
    leaf('messages.list'),
    leaf('messages.send', { kind: 'mutation' }),
    leaf('messages.archive.old', { kind: 'mutation' }),
    leaf('ping'),
    leaf('delete.default'),
    leaf('my-file.two words'),
    leaf('mail.send', { kind: 'action' }),
    leaf('jobs.sweep', { kind: 'mutation', internal: true }),
    leaf('jobs.due', { internal: true }),
    leaf('mail.deliver', { kind: 'action', internal: true }),
  ],
  serverModule: '../server.js',
  hasContext: true,
  routesModule: '../http.js',
  drizzleStandIn: false,
};

describe('the generated files', () => {
  it('of a whole project', () => {
    for (const [name, text] of generateFiles(project)) expect(text).toMatchSnapshot(name);
  });

  it('infer a table from its own export, unless the export cannot be named in a type', () => {
    const of = (...exportNames: (string | undefined)[]) => {
      const tables = exportNames.map((exportName, n) => ({ name: `table${n}`, isUnion: n === 1, exportName }));
      return generateFiles({ ...project, tables, functions: [] }).get('dataModel.ts');
    };
    expect(of('table0', 'renamed', undefined)).toMatchSnapshot('some');
    expect(of('table0', 'renamed')).not.toMatch(/import type schema|Tables\[/);
    expect(of('a-b', '__proto__')).not.toContain('schemaModule');
  });

  it('start with what server.ts exports when it is imported, if there is that file', () => {
    const startFile = (changes: Partial<Project>) => generateFiles({ ...project, ...changes }).get('http.ts');
    const imported = "const server = await import('../server.js');";
    for (const hasContext of [true, false]) {
      const text = startFile({ hasContext }) ?? '';
      expect(text).toContain('    ...serverExports(server),');
      expect(text.split(imported)).toHaveLength(2);
    }
    expect(startFile({ serverModule: null })).not.toContain('serverExports');
  });

  it('of an empty project', () => {
    const empty: Project = {
      schema: { module: '../../other/schema.js', exportName: 'schema' },
      tables: [],
      functions: [],
      serverModule: null,
      hasContext: false,
      routesModule: null,
      drizzleStandIn: false,
    };
    for (const [name, text] of generateFiles(empty)) expect(text).toMatchSnapshot(name);
  });

  it('do not depend on the order in which functions were found', () => {
    const reversed = { ...project, functions: [...project.functions].reverse() };
    expect(generateFiles(reversed)).toEqual(generateFiles(project));
  });

  it('are refused where a function and a folder, or two functions, have the same name', () => {
    const of =
      (...functions: ProjectFunction[]) =>
      () =>
        generateFiles({ ...project, functions });
    expect(of(leaf('a.b'), leaf('a.b.c'))).toThrow(/a\.b \(in .*a\.js\) and a\.b\.c \(in .*a\/b\.js\)/);
    expect(of(leaf('a.b.c'), leaf('a.b'))).toThrow(/function and a folder/);
    expect(of(leaf('a.b'), leaf('a.b', { module: '../functions/a/index.js' }))).toThrow(/same name/);
  });
});
