/** A server with the tables and functions of `program.ts`, called by users over the network. */
import { makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { freshDatabaseUrl } from '../app.js';
import { createContext, functions, type Step, schema } from './program.js';

type Name = keyof typeof functions;

/** The result of a step: its value, or the error that it was refused with. */
export type StepResult =
  // biome-ignore lint/suspicious/noExplicitAny: the value of any method.
  | { readonly ok: any; readonly error?: undefined }
  | {
      readonly error: { readonly code: string; readonly message: string; readonly details?: unknown };
      readonly ok?: undefined;
    };

export interface AccessApp {
  readonly convoy: Convoy;
  readonly baseUrl: string;
  readonly databaseUrl: string;
  /** Runs a step by a function, as a user over the network; `null` is an anonymous caller. */
  as(user: string | null, name: Name, step: Step): Promise<StepResult>;
  /** Runs a step in a trusted call without a context. */
  trusted(step: Step): Promise<StepResult>;
  close(): Promise<void>;
}

const kindOf = (name: Name) => functions[name].kind;

export async function openAccessApp(failpoints: readonly string[] = []): Promise<AccessApp> {
  const databaseUrl = freshDatabaseUrl();
  const options = { databaseUrl, createDatabase: true, failpoints };
  const convoy = await createConvoy({ schema, functions, createContext: createContext as never, ...options });
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  return {
    convoy,
    baseUrl,
    databaseUrl,
    as: async (user, name, step) => {
      const response = await fetch(`${baseUrl}/api/${kindOf(name)}/${name}`, {
        method: 'POST',
        headers: user === null ? {} : { authorization: `Bearer ${user}` },
        body: JSON.stringify({ step }),
      });
      const answer = (await response.json()) as { ok: boolean; data?: StepResult; error?: never };
      return answer.ok ? (answer.data as StepResult) : { error: answer.error as never };
    },
    trusted: (step) => convoy.mutation(makeMutationRef<{ step: Step }, StepResult>('write'), { step }),
    close: () => convoy.close(),
  };
}

export const readRef = makeQueryRef<{ step: Step }, StepResult>('read');
export const writeRef = makeMutationRef<{ step: Step }, StepResult>('write');
export const actRef = makeActionRef<{ step: Step }, StepResult>('act');
