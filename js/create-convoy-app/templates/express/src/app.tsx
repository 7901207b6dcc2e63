import { useConnectionState, useQuery } from '@avvos/convoy/react';
import { api } from '../convoy/_generated/api';
import { Composer } from './composer';
import { MessageList } from './message-list';

export function App() {
  const { data: messages, error } = useQuery(api.messages.list);
  return (
    <div className="page">
      <header className="header">
        <img src="/icon.svg" alt="" width="40" height="40" />
        <div>
          <h1>convoy-app</h1>
          <p className="soft">Open this page in a second window and write something.</p>
        </div>
        <Connection />
      </header>
      <main>
        <Composer />
        {error && (
          <p className="problem" role="alert">
            {error.message}
          </p>
        )}
        <MessageList messages={messages} />
      </main>
      <footer className="soft">
        Change <code>convoy/functions/messages.ts</code> and save: this page shows the new result without a reload.
      </footer>
    </div>
  );
}

function Connection() {
  const state = useConnectionState();
  return (
    <p className="connection" role="status" data-state={state}>
      {state === 'open' ? 'Live' : 'Connecting…'}
    </p>
  );
}
