/** A call of Better Auth by a button or a form: whether it is on its way, and why it was refused. */
import { useConvoy } from '@avvos/convoy/react';
import { useState } from 'react';

interface Answer {
  readonly error: { readonly message?: string | undefined } | null;
}

export interface Attempt {
  readonly problem: string | null;
  readonly isRunning: boolean;
  readonly forget: () => void;
  /** Resolves to whether it succeeded. */
  readonly run: (call: () => Promise<Answer>) => Promise<boolean>;
}

export function useAttempt(initial: string | null = null): Attempt {
  const client = useConvoy();
  const [problem, setProblem] = useState(initial);
  const [isRunning, setRunning] = useState(false);
  const run = async (call: () => Promise<Answer>) => {
    setProblem(null);
    setRunning(true);
    const { error } = await call().catch((reason: unknown) => ({ error: { message: String(reason) } }));
    setRunning(false);
    if (error) setProblem(error.message ?? 'The server refused this.');
    // The cookie may be another one now, and a connection keeps the caller with whom it began.
    else client.refreshAuth();
    return error === null;
  };
  return { problem, isRunning, forget: () => setProblem(null), run };
}
