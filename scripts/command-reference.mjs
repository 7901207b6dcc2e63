// Writes docs/reference/commands.md: the help of every command of `convoy`, as the built package prints it. A test
// compares the page with the program.
//
//   node scripts/command-reference.mjs
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buildPackage } from './build.mjs';
import { root } from './run.mjs';

export const commandReferenceFile = join(root, 'docs/reference/commands.md');

/** The text of the page. Needs the built package. */
export async function commandReference() {
  const { defineCommands } = await import(join(root, 'js/convoy/dist/cli/commands.js'));
  // Only the actions of commands use the terminal.
  const program = defineCommands(undefined);
  const commands = program.commands.map((command) => `## convoy ${command.name()}\n\n${helpOf(command)}`);
  return `# Commands and flags

The output of \`convoy --help\` and of \`convoy <command> --help\`. [The command line](../cli.md) describes what the
commands do. This page is generated: run \`node scripts/command-reference.mjs\` after a change of a command.

${[helpOf(program), ...commands].join('\n\n')}
`;
}

function helpOf(command) {
  let text = '';
  // Otherwise descriptions narrower than 40 columns are not wrapped.
  command.configureHelp({ minWidthToWrap: 30 });
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    // Fits into the column of the site.
    getOutHelpWidth: () => 70,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return `\`\`\`text\n${text.trimEnd()}\n\`\`\``;
}

if (process.argv[1] === import.meta.filename) {
  await buildPackage();
  await mkdir(dirname(commandReferenceFile), { recursive: true });
  await writeFile(commandReferenceFile, await commandReference());
}
