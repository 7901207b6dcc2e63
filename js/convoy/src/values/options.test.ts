import { expect, it } from 'vitest';
import { checkMembers, membersProblem } from './options.js';

const known = ['port', 'host', 'open'];

it('accepts an object with some of the members', () => {
  for (const given of [{}, { port: 1 }, { host: undefined, open: true }, Object.create(null)]) {
    expect(membersProblem('listen({ … })', given, known)).toBeNull();
  }
});

it('names what is given instead of an object', () => {
  const named = [null, undefined, [], 'x', 5, () => 0].map((given) => membersProblem('listen', given, known));
  expect(named).toEqual(
    ['null', 'undefined', 'an array', 'a text', '5', 'a function'].map(
      (kind) => `listen takes an object of options, not ${kind}.`,
    ),
  );
});

it('suggests a close name, and else lists all', () => {
  expect(() => checkMembers('listen({ … })', { prot: 1 }, known)).toThrow(
    new TypeError('listen({ … }) has no option "prot". Did you mean port?'),
  );
  expect(() => checkMembers('listen({ … })', { 'a"\n': 1 }, known)).toThrow(
    new TypeError('listen({ … }) has no option "a\\"\\n". The options are port, host, open.'),
  );
});
