/** Where the user is signed in, live; each session can be ended from here. */
import { useMutation, useQuery } from '@avvos/convoy/react';
import { api } from '../../convoy/_generated/api';
import { authClient } from '../auth-client';
import { deviceOf } from '../device';
import { useAttempt } from '../use-attempt';

const time = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

export function Sessions() {
  const { data: sessions } = useQuery(api.sessions.mine);
  const end = useMutation(api.sessions.end);
  const { problem, isRunning, run } = useAttempt();
  return (
    <section aria-labelledby="sessions-title">
      <h2 id="sessions-title">Where you are signed in</h2>
      <ul>
        {sessions?.map(({ id, userAgent, ipAddress, createdAt, isCurrent }) => (
          <li key={id} data-testid="session">
            <span>
              {deviceOf(userAgent)}
              {isCurrent && <em>this browser</em>}
              <small>{[time.format(createdAt), ipAddress].filter(Boolean).join(' · ')}</small>
            </span>
            {!isCurrent && (
              <button type="button" className="quiet" onClick={() => void end({ id })}>
                Sign out
              </button>
            )}
          </li>
        ))}
      </ul>
      {problem !== null && (
        <p className="field-error" role="alert">
          {problem}
        </p>
      )}
      <button
        type="button"
        className="secondary"
        disabled={isRunning}
        onClick={() => void run(() => authClient.revokeSessions())}
      >
        Sign out everywhere
      </button>
    </section>
  );
}
