import { describe, expect, it } from 'vitest';
import { asImport, asKey, Identifiers, isFunctionFile, pascalCase, quote, segmentsOf } from './names.js';

describe('files below functions/', () => {
  it.each(['a.ts', 'a/b.ts', 'a.tsx', 'a.mts', 'a.js', 'a.mjs', 'index.ts', 'latest.ts'])(
    '%s may hold functions',
    (file) => {
      expect(isFunctionFile(file)).toBe(true);
    },
  );

  it.each([
    '.a.ts',
    '.hidden/a.ts',
    'a.test.ts',
    'a.d.ts',
    'a.test.mts',
    'a.json',
    'a',
    'a.ts~',
    'node_modules/x/a.ts',
  ])('%s does not', (file) => {
    expect(isFunctionFile(file)).toBe(false);
  });

  it('become names by folder and file, where an index adds no segment', () => {
    expect(segmentsOf('messages.ts')).toEqual(['messages']);
    expect(segmentsOf('chat/messages.ts')).toEqual(['chat', 'messages']);
    expect(segmentsOf('chat/index.ts')).toEqual(['chat']);
    expect(segmentsOf('index.ts')).toEqual([]);
  });

  it('are imported with the extension of their compiled form', () => {
    expect(['a/b.ts', 'a.tsx', 'a.mts', 'a.js'].map(asImport)).toEqual(['a/b.js', 'a.js', 'a.mjs', 'a.js']);
  });
});

describe('names in generated code', () => {
  it('are quoted where they are not identifiers', () => {
    expect(['list', 'größe', 'delete', '$x', 'two words', '2nd', 'my-file', ''].map(asKey)).toEqual([
      'list',
      'größe',
      'delete',
      '$x',
      "'two words'",
      "'2nd'",
      "'my-file'",
      "''",
    ]);
  });

  it('never set a prototype', () => {
    const made = new Function(`return { ${asKey('__proto__')}: 1 }`)() as object;
    expect(Object.keys(made)).toEqual(['__proto__']);
  });

  it('survive quotes and backslashes', () => {
    for (const text of [`it's`, `say "hi"`, 'back\\slash', 'new\nline', `\\'`]) {
      expect(new Function(`return ${quote(text)}`)()).toBe(text);
    }
  });

  it('never collide as identifiers', () => {
    const names = new Identifiers(['api']);
    expect(['api', 'a/b', 'a_b', '2nd', 'größe'].map((name) => names.allocate(name))).toEqual([
      'api2',
      'a_b',
      'a_b2',
      '_2nd',
      'größe',
    ]);
  });

  it('are joined in capitals for types', () => {
    expect(['messages', 'audit_log', 'auditLog', '_x'].map(pascalCase)).toEqual([
      'Messages',
      'AuditLog',
      'AuditLog',
      'X',
    ]);
  });
});
