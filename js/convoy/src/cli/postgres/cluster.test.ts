import { expect, it } from 'vitest';
import { localeOptions } from './cluster.js';

it.each([14, 15, 16])('a cluster of Postgres %s gets no locale provider, which its initdb does not know', (major) => {
  expect(localeOptions(major)).toEqual(['--encoding=UTF8', '--locale=C']);
});

it.each([17, 18])('a cluster of Postgres %s knows the case of all letters', (major) => {
  expect(localeOptions(major)).toContain('--builtin-locale=C.UTF-8');
});
