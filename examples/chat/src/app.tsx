import { useState } from 'react';
import { Chat } from './components/chat';
import { Welcome } from './components/welcome';
import { forgetName, type Identity, loadIdentity, rememberName } from './identity';

/** Shows the welcome page until the user has a name, then the chat. */
export function App() {
  const [identity, setIdentity] = useState<Identity>(loadIdentity);
  if (identity.name === null) {
    return <Welcome onJoin={(name) => setIdentity(rememberName(name))} />;
  }
  return <Chat me={{ session: identity.session, name: identity.name }} onLeave={() => setIdentity(forgetName())} />;
}
