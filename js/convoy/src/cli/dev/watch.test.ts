import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeProject, messagesSchema, type TestProject } from '../code/project.test-kit.js';
import { ChangeBatcher, type ProjectWatcher, watchProject } from './watch.js';

describe('batches of changes', () => {
  it('are reported together, and changes during a call in the next one', async () => {
    const calls: (readonly string[])[] = [];
    let finish = () => {};
    const called = { next: () => {} };
    const batcher = new ChangeBatcher((files) => {
      calls.push(files);
      called.next();
      return new Promise((resolve) => {
        finish = resolve;
      });
    });
    const nextCall = () =>
      new Promise<void>((resolve) => {
        called.next = resolve;
      });
    const first = nextCall();
    batcher.add('b');
    batcher.add('a');
    batcher.add('b');
    await first;
    const second = nextCall();
    batcher.add('c');
    batcher.add('d');
    expect(calls).toEqual([['a', 'b']]);
    finish();
    await second;
    expect(calls).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
    finish();
    batcher.stop();
  });
});

describe('watching a project', { timeout: 30_000 }, () => {
  let project: TestProject;
  let watcher: ProjectWatcher;
  let changes: string[];
  let wake: () => void;

  beforeEach(async () => {
    project = await makeProject({ 'convoy/schema.ts': messagesSchema, 'shared/names.ts': '' });
    changes = [];
    wake = () => {};
    const onChange = async (files: readonly string[]) => {
      changes.push(...files.map((file) => path.relative(project.root, file)));
      wake();
    };
    watcher = await watchProject(project.layout, onChange, [path.join(project.root, '.env')]);
  });
  afterEach(async () => {
    await watcher.close();
    await project.remove();
  });

  async function untilSeen(file: string): Promise<void> {
    while (!changes.includes(file)) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }

  /** A new watch takes a moment, so the file is changed until a change is reported. */
  async function writeUntilSeen(file: string): Promise<void> {
    for (let n = 0; !changes.includes(file); n += 1) {
      await project.write({ [file]: `// ${n}` });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  it.each([
    ['.env', 'at once', 0],
    ['.env', 'after a while', 300],
    ['shared/names.ts', 'at once', 0],
    ['shared/names.ts', 'after a while', 300],
  ])('reports %s, outside of the folder, deleted and rewritten %s', async (file, _when, pauseMs) => {
    watcher.follow([path.join(project.root, file)]);
    await writeUntilSeen(file);
    for (const text of ['1', '2', '3']) {
      // The changes of the previous round have been reported by then.
      await new Promise((resolve) => setTimeout(resolve, 300));
      await project.write({ [file]: null });
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      changes = [];
      await project.write({ [file]: text });
      await untilSeen(file);
    }
  });

  it.each([0, 1, 5, 20, 45])('reports a file that is written again %d ms after it was reported', async (pauseMs) => {
    const file = 'convoy/schema.ts';
    for (const round of ['a', 'b', 'c']) {
      changes = [];
      await project.write({ [file]: `// ${round}1` });
      await untilSeen(file);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      changes = [];
      await project.write({ [file]: `// ${round}2, longer` });
      await untilSeen(file);
      // Its last change has been reported; the next round is one of its own.
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  });

  it('reports a file that is deleted right after it was reported', async () => {
    const file = 'convoy/functions/new.ts';
    for (let round = 0; round < 3; round += 1) {
      changes = [];
      await project.write({ [file]: `// ${round}` });
      await untilSeen(file);
      changes = [];
      await project.write({ [file]: null });
      await untilSeen(file);
      changes = [];
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it('reports new, changed and deleted sources, and followed files', async () => {
    await project.write({ 'convoy/functions/new.ts': 'export {};' });
    await untilSeen('convoy/functions/new.ts');
    changes = [];
    await project.write({ 'convoy/schema.ts': `${messagesSchema}\n` });
    await untilSeen('convoy/schema.ts');
    await project.write({ 'convoy/functions/new.ts': null });
    await untilSeen('convoy/functions/new.ts');
    watcher.follow([path.join(project.root, 'shared/names.ts')]);
    await writeUntilSeen('shared/names.ts');
  });

  it('ignores generated files and dotfiles', async () => {
    await project.write({
      'convoy/_generated/api.ts': 'export {};',
      'convoy/functions/.draft.ts': 'export {};',
      'convoy/schema.ts': `${messagesSchema}\n`,
    });
    await untilSeen('convoy/schema.ts');
    expect([...new Set(changes)].filter((file) => path.extname(file) === '.ts')).toEqual(['convoy/schema.ts']);
  });
});
