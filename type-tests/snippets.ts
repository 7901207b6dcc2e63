/** Compiles pieces of code that use the package, and shows where the compiler's errors are and what they say. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '..');

const OPTIONS = {
  target: 'es2023',
  module: 'esnext',
  moduleResolution: 'bundler',
  lib: ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable'],
  types: ['node'],
  strict: true,
  verbatimModuleSyntax: true,
  skipLibCheck: true,
  noEmit: true,
};

/** An error of the compiler. */
export interface CompilerError {
  /** The code that the error is about. */
  readonly at: string;
  /** The lines of the message. */
  readonly message: readonly string[];
}

/** A snippet: the imports above its code, which has one statement on each line. */
export interface Snippet {
  readonly imports: string;
  readonly code: string;
}

/**
 * The errors of each snippet, in the order of the code.
 *
 * @param snippets name → snippet; all are compiled as one program
 */
export async function compile(snippets: Readonly<Record<string, Snippet>>): Promise<Record<string, CompilerError[]>> {
  return inFolder(snippets, (folder) => {
    const config = ts.parseJsonConfigFileContent({ compilerOptions: OPTIONS, include: ['*.ts'] }, ts.sys, folder);
    const program = ts.createProgram(config.fileNames, config.options);
    return Object.fromEntries(
      Object.keys(snippets).map((name) => {
        const file = program.getSourceFile(join(folder, `${name}.ts`));
        const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
        return [name, found.map(errorOf)];
      }),
    );
  });
}

/** The text that TypeScript 7 prints for the snippets. */
export async function compileWithLatest(snippets: Readonly<Record<string, Snippet>>): Promise<string> {
  // The one of the workspace; this folder has its own.
  const latest = createRequire(join(root, 'package.json')).resolve('typescript/package.json');
  return inFolder(snippets, async (folder) => {
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: OPTIONS, include: ['*.ts'] }));
    return new Promise<string>((resolve) => {
      // The exit code is ignored: the compiler prints every error.
      const args = [join(dirname(latest), 'bin/tsc'), '-p', folder, '--pretty', 'false'];
      execFile(process.execPath, args, (_error, stdout, stderr) => resolve(stdout + stderr));
    });
  });
}

/** Writes the snippets into a folder of the package, whose dependencies they import. */
async function inFolder<Result>(
  snippets: Readonly<Record<string, Snippet>>,
  use: (folder: string) => Result | Promise<Result>,
): Promise<Result> {
  const parent = join(root, 'js/convoy/.convoy');
  await mkdir(parent, { recursive: true });
  const folder = await mkdtemp(join(parent, 'snippets-'));
  try {
    for (const [name, { imports, code }] of Object.entries(snippets)) {
      await writeFile(join(folder, `${name}.ts`), `${imports}\n${code}\n`);
    }
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function errorOf({ file, start = 0, length = 0, messageText }: ts.Diagnostic): CompilerError {
  return {
    at: file?.text.slice(start, start + length) ?? '',
    message: ts
      .flattenDiagnosticMessageText(messageText, '\n')
      .split('\n')
      .map((line) => line.trim()),
  };
}
