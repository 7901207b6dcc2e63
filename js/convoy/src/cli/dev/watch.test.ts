import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeProject, messagesSchema, type TestProject } from '../code/project.test-kit.js';
import { Bursts, type ProjectWatcher, watchProject } from './watch.js';

describe('bursts of changes', () => {
  it('are told together, and those during a call in the next one', async () => {
    const calls: (readonly string[])[] = [];
    let finish = () => {};
    const called = { next: () => {} };
    const bursts = new Bursts((files) => {
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
    bursts.add('b');
    bursts.add('a');
    bursts.add('b');
    await first;
    const second = nextCall();
    bursts.add('c');
    bursts.add('d');
    expect(calls).toEqual([['a', 'b']]);
    finish();
    await second;
    expect(calls).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
    finish();
    bursts.stop();
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
    watcher = await watchProject(project.layout, async (files) => {
      changes.push(...files.map((file) => path.relative(project.root, file)));
      wake();
    });
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

  it('sees new, changed and deleted sources, and those it is told to follow', async () => {
    await project.write({ 'convoy/functions/new.ts': 'export {};' });
    await untilSeen('convoy/functions/new.ts');
    changes = [];
    await project.write({ 'convoy/schema.ts': `${messagesSchema}\n` });
    await untilSeen('convoy/schema.ts');
    await project.write({ 'convoy/functions/new.ts': null });
    await untilSeen('convoy/functions/new.ts');
    watcher.follow([path.join(project.root, 'shared/names.ts')]);
    // Following takes a moment, so the file changes until it is seen.
    for (let n = 0; !changes.includes('shared/names.ts'); n += 1) {
      await project.write({ 'shared/names.ts': `// ${n}` });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });

  it('does not see generated files and dotfiles', async () => {
    await project.write({
      'convoy/_generated/api.ts': 'export {};',
      'convoy/functions/.draft.ts': 'export {};',
      'convoy/schema.ts': `${messagesSchema}\n`,
    });
    await untilSeen('convoy/schema.ts');
    expect([...new Set(changes)].filter((file) => path.extname(file) === '.ts')).toEqual(['convoy/schema.ts']);
  });
});
