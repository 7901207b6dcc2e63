/** The page without a user: sign in by password, passkey or provider, or create an account. */
import { type FormEvent, useState } from 'react';
import { authClient } from '../auth-client';
import { useAttempt } from '../use-attempt';
import { Mark } from './mark';

interface Props {
  readonly providers: readonly { readonly id: string; readonly name: string }[];
  /** The session of this page has ended, by its user or from elsewhere. */
  readonly hasEnded: boolean;
}

export function SignIn({ providers, hasEnded }: Props) {
  const [isNew, setNew] = useState(false);
  const { problem, isRunning, forget, run } = useAttempt(refusalInAddress());

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? '');
    const account = { email: text('email'), password: text('password') };
    void run(() =>
      isNew ? authClient.signUp.email({ ...account, name: text('name') }) : authClient.signIn.email(account),
    );
  };
  const change = () => {
    forget();
    setNew(!isNew);
  };
  const withProvider = (provider: string) =>
    run(() => authClient.signIn.social({ provider, callbackURL: '/', errorCallbackURL: '/' }));

  return (
    <main className="entrance">
      <form className="entrance-card" onSubmit={submit}>
        <Mark />
        <h1>{isNew ? 'Come aboard' : 'Welcome back'}</h1>
        <p>{hasEnded ? 'You are signed out.' : 'Your notes, in every browser you sign in with.'}</p>
        {isNew && (
          <label>
            Name
            <input name="name" autoComplete="name" maxLength={60} required />
          </label>
        )}
        <label>
          Email
          <input name="email" type="email" autoComplete="username" required />
        </label>
        <label>
          Password
          <input
            name="password"
            type="password"
            autoComplete={isNew ? 'new-password' : 'current-password'}
            minLength={8}
            maxLength={128}
            required
          />
        </label>
        {problem !== null && (
          <p className="field-error" role="alert">
            {problem}
          </p>
        )}
        <button type="submit" className="primary" disabled={isRunning}>
          {isNew ? 'Create account' : 'Sign in'}
        </button>
        {!isNew && (
          <>
            <p className="or">or</p>
            <button
              type="button"
              className="secondary"
              disabled={isRunning}
              onClick={() => void run(() => authClient.signIn.passkey())}
            >
              Sign in with a passkey
            </button>
            {providers.map(({ id, name }) => (
              <button
                key={id}
                type="button"
                className="secondary"
                disabled={isRunning}
                onClick={() => void withProvider(id)}
              >
                Sign in with {name}
              </button>
            ))}
          </>
        )}
        <p className="fine">
          {isNew ? 'You have an account?' : 'No account yet?'}{' '}
          <button type="button" className="link" onClick={change}>
            {isNew ? 'Sign in instead' : 'Create one'}
          </button>
        </p>
      </form>
    </main>
  );
}

/** A provider that refuses leads back with `?error=`. */
function refusalInAddress(): string | null {
  const query = new URLSearchParams(location.search);
  return query.get('error_description') ?? query.get('error')?.replaceAll('_', ' ') ?? null;
}
