/** Questions and progress: with `@clack/prompts` on a terminal, as plain lines elsewhere. */
import * as clack from '@clack/prompts';
import pc from 'picocolors';

/** The user has left a question with Ctrl-C or Escape. */
export class Cancelled extends Error {
  override readonly name = 'Cancelled';
}

export interface Choice<T> {
  readonly value: T;
  readonly label: string;
  readonly hint?: string;
}

export interface Terminal {
  /** Whether there is someone to answer questions. */
  readonly canAsk: boolean;
  intro(text: string): void;
  /** Rejects with `Cancelled`. `problemOf` says why an answer cannot be used, or returns `null`. */
  askText(
    question: string,
    options: { readonly initial: string; problemOf(answer: string): string | null },
  ): Promise<string>;
  choose<T extends string>(question: string, choices: readonly Choice<T>[]): Promise<T>;
  /** Shows `text` while `work` runs, then what it resolves to. */
  step(text: string, work: () => Promise<string>): Promise<void>;
  warn(text: string): void;
  /** The last lines: what the user types now. */
  outro(text: string, commands: readonly string[]): void;
  cancelled(text: string): void;
}

export function terminal({ canAsk }: { readonly canAsk: boolean }): Terminal {
  return canAsk ? onTerminal() : plainLines((text) => console.log(text));
}

function onTerminal(): Terminal {
  return {
    canAsk: true,
    intro: (text) => clack.intro(pc.bold(text)),
    async askText(question, { initial, problemOf }) {
      const answer = await clack.text({
        message: question,
        placeholder: initial,
        defaultValue: initial,
        validate: (value) => (value ? (problemOf(value) ?? undefined) : undefined),
      });
      return answered(answer);
    },
    async choose<T extends string>(question: string, choices: readonly Choice<T>[]) {
      const options = choices.map(({ value, label, hint }) => ({
        value,
        label,
        ...(hint === undefined ? {} : { hint }),
      }));
      return answered(await clack.select<string>({ message: question, options })) as T;
    },
    async step(text, work) {
      const spinner = clack.spinner();
      spinner.start(text);
      try {
        spinner.stop(await work());
      } catch (error) {
        spinner.error(text);
        throw error;
      }
    },
    warn: (text) => clack.log.warn(text),
    outro: (text, commands) => {
      clack.note(commands.map((command) => pc.cyan(command)).join('\n'), text, { format: (line) => line });
      clack.outro(pc.dim('The page updates in every window while you edit.'));
    },
    cancelled: (text) => clack.cancel(text),
  };
}

function answered(answer: string | symbol): string {
  if (clack.isCancel(answer)) throw new Cancelled();
  return answer as string;
}

/** For logs, scripts and coding agents. */
export function plainLines(print: (text: string) => void): Terminal {
  const unasked = () => Promise.reject(new Error('There is no terminal to ask on.'));
  return {
    canAsk: false,
    intro: (text) => print(text),
    askText: unasked,
    choose: unasked,
    async step(text, work) {
      print(`- ${text}…`);
      print(`✔ ${await work()}`);
    },
    warn: (text) => print(`⚠ ${text}`),
    outro: (text, commands) => print(['', text, '', ...commands.map((command) => `  ${command}`), ''].join('\n')),
    cancelled: (text) => print(text),
  };
}
