/** The passkeys of the user, live: a passkey that is added in another browser appears, too. */
import { useQuery } from '@avvos/convoy/react';
import { api } from '../../convoy/_generated/api';
import { authClient } from '../auth-client';
import { deviceOf } from '../device';
import { useAttempt } from '../use-attempt';

export function Passkeys() {
  const { data: passkeys } = useQuery(api.passkeys.mine);
  const { problem, isRunning, run } = useAttempt();
  return (
    <section aria-labelledby="passkeys-title">
      <h2 id="passkeys-title">Passkeys</h2>
      {passkeys?.length === 0 && <p className="empty">Sign in without a password: with a fingerprint, or a PIN.</p>}
      <ul>
        {passkeys?.map(({ id, name }) => (
          <li key={id} data-testid="passkey">
            <span>{name}</span>
            <button
              type="button"
              className="quiet"
              disabled={isRunning}
              onClick={() => void run(() => authClient.passkey.deletePasskey({ id }))}
            >
              Remove
            </button>
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
        onClick={() => void run(() => authClient.passkey.addPasskey({ name: deviceOf(navigator.userAgent) }))}
      >
        Add a passkey
      </button>
    </section>
  );
}
