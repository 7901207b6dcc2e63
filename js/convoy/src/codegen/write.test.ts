import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeGenerated } from './write.js';

describe('writing generated files', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'convoy-generated-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('touches only files whose text differs, and leaves others alone', async () => {
    await writeFile(path.join(folder, 'mine.ts'), 'kept');
    const texts = new Map([
      ['a.ts', 'one'],
      ['b.ts', 'two'],
    ]);
    expect(await writeGenerated(folder, texts)).toEqual(['a.ts', 'b.ts']);
    const before = await stat(path.join(folder, 'a.ts'));
    expect(await writeGenerated(folder, new Map([...texts, ['b.ts', 'three']]))).toEqual(['b.ts']);
    expect((await stat(path.join(folder, 'a.ts'))).ino).toBe(before.ino);
    expect(await readFile(path.join(folder, 'b.ts'), 'utf8')).toBe('three');
    expect((await readdir(folder)).sort()).toEqual(['a.ts', 'b.ts', 'mine.ts']);
  });
});
