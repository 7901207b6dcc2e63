'use client';

import { type Preloaded, useConnectionState, usePreloadedQuery } from '@avvos/convoy/react';
import Image from 'next/image';
import type { api } from '../convoy/_generated/api';
import { Composer } from './composer';
import { MessageList } from './message-list';

/** Starts with the messages that the server has rendered, and is live from then on. */
export function Chat({ preloaded }: { preloaded: Preloaded<typeof api.messages.list> }) {
  const messages = usePreloadedQuery(preloaded);
  return (
    <div className="page">
      <header className="header">
        <Image src="/icon.svg" alt="" width={40} height={40} />
        <div>
          <h1>convoy-app</h1>
          <p className="soft">Open this page in a second window and write something.</p>
        </div>
        <Connection />
      </header>
      <main>
        <Composer />
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
