import { expect, it } from 'vitest';
import { nearest } from './nearest.js';

const NAMES = ['messages.list', 'messages.send', 'users.get'];

it.each([
  ['messages.lst', 'messages.list'],
  ['messages.lsit', 'messages.list'],
  ['message.List', 'messages.list'],
  ['send', 'messages.send'],
  ['constructor', null],
  ['', null],
])('%j: suggests %j', (name, suggestion) => {
  expect(nearest(name, NAMES)).toBe(suggestion);
});

it('suggests nothing farther away than asked for', () => {
  expect(nearest('createClient', ['createContext'])).toBe('createContext');
  expect(nearest('createClient', ['createContext'], 2)).toBeNull();
  expect(nearest('createContxet', ['createContext'], 2)).toBe('createContext');
});
