import { expect, test } from 'vitest';
import { nameProblem, projectPlace } from './project-name.js';

test.each([
  ['my-app', '/projects/my-app', 'my-app'],
  ['apps/web', '/projects/apps/web', 'web'],
  ['.', '/projects', 'projects'],
  ['../other/', '/other', 'other'],
])('%s is the folder %s', (given, folder, name) => {
  expect(projectPlace(given, '/projects')).toEqual({ folder, name });
});

test.each(['a', 'my-app', 'app_2', 'a.b', '2048', '-x', '~x'])('%s can be a name', (name) => {
  expect(nameProblem(name)).toBeNull();
});

test.each([
  ['My App', 'Try my-app'],
  ['.hidden', 'Try hidden'],
  ['_private', 'Try private'],
  ['größe', 'Try gr-e'],
  ['…', 'npm allows'],
  ['node_modules', 'cannot be the name'],
  ['x'.repeat(215), 'at most 214'],
])('%s cannot', (name, reason) => {
  expect(nameProblem(name)).toContain(reason);
});

test('the root folder has no name', () => {
  expect(() => projectPlace('/', '/projects')).toThrow('Give a folder');
});
