import { CommanderError } from 'commander';
import { describe, expect, test } from 'vitest';
import { defineCommand, parseCommandLine } from './options.js';

/** Parses without printing; returns what would be printed with the error. */
function parse(...args: string[]) {
  let printed = '';
  const command = defineCommand().configureOutput({
    writeErr: (text) => {
      printed += text;
    },
    writeOut: (text) => {
      printed += text;
    },
  });
  try {
    return { options: parseCommandLine(args, command), printed };
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { options: null, printed, exitCode: error.exitCode };
  }
}

test('without arguments, nothing is chosen, and packages and Git are on', () => {
  expect(parse().options).toEqual({
    folder: null,
    template: null,
    example: null,
    packageManager: null,
    install: true,
    git: true,
    yes: false,
  });
});

test('every flag can be given', () => {
  const { options } = parse('apps/my-app', '-t', 'node', '-p', 'pnpm', '--no-install', '--no-git', '-y');
  expect(options).toEqual({
    folder: 'apps/my-app',
    template: 'node',
    example: null,
    packageManager: 'pnpm',
    install: false,
    git: false,
    yes: true,
  });
  expect(parse('my-app', '--example', 'chat').options?.example).toBe('chat');
});

describe('an error says what there is', () => {
  test.each([
    [['--templte', 'node'], /unknown option '--templte'\n\(Did you mean --template\?\)/],
    [['--template', 'angular'], /'angular' is invalid\. Allowed choices are react-vite, nextjs, express, node/],
    [['--package-manager', 'cargo'], /Allowed choices are npm, pnpm, yarn, bun/],
    [['--example', 'shop'], /Allowed choices are auth, chat/],
    [['one', 'two'], /too many arguments/],
  ])('%j', (args, message) => {
    const { printed, exitCode } = parse(...args);
    expect(exitCode).toBe(1);
    expect(printed).toMatch(message);
    expect(printed).toContain('create-convoy-app --help');
  });

  test('a template and an example', () => {
    expect(() => parse('a', '-t', 'node', '-e', 'chat')).toThrow('either --template or --example');
  });
});

test('help lists the templates and examples', () => {
  const { printed, exitCode } = parse('--help');
  expect(exitCode).toBe(0);
  expect(printed).toMatch(
    /Templates:\n {2}react-vite +React and Vite\n {2}nextjs +Next\.js\n {2}express +Express\n {2}node +Node\n\nExamples: auth, chat/,
  );
});
