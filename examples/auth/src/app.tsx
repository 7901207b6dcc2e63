import { useQuery } from '@avvos/convoy/react';
import { useRef } from 'react';
import { api } from '../convoy/_generated/api';
import { Home } from './components/home';
import { SignIn } from './components/sign-in';

/** Shows the page of the user, or how to sign in. Which of them is a live query: a session that ends ends the page. */
export function App() {
  const { data, error } = useQuery(api.users.current);
  const wasSignedIn = useRef(false);
  if (data === null) return <p className="waiting">{error?.message}</p>;
  if (data.user === null) return <SignIn providers={data.providers} hasEnded={wasSignedIn.current} />;
  wasSignedIn.current = true;
  return <Home user={data.user} />;
}
