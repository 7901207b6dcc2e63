/** The page of a user who is signed in. */
import { authClient } from '../auth-client';
import { useAttempt } from '../use-attempt';
import { Connection } from './connection';
import { Mark } from './mark';
import { Notes } from './notes';
import { Passkeys } from './passkeys';
import { Sessions } from './sessions';

export function Home({ user }: { readonly user: { readonly name: string; readonly email: string } }) {
  // Better Auth extends the session of a page that is used.
  authClient.useSession();
  const { isRunning, run } = useAttempt();
  return (
    <div className="home">
      <header className="bar">
        <Mark />
        <span className="brand">Convoy auth</span>
        <Connection />
        <span className="who" data-testid="user">
          {user.name} <span>{user.email}</span>
        </span>
        <button
          type="button"
          className="quiet"
          disabled={isRunning}
          onClick={() => void run(() => authClient.signOut())}
        >
          Sign out
        </button>
      </header>
      <main>
        <Notes />
        <div className="account">
          <Passkeys />
          <Sessions />
        </div>
      </main>
    </div>
  );
}
