/** The page of the first visit, which takes the user's name. */
import { type FormEvent, useState } from 'react';
import { suggestName } from '../identity';
import { Mark } from './mark';
import { Monogram } from './monogram';

export function Welcome({ onJoin }: { readonly onJoin: (name: string) => void }) {
  const [name, setName] = useState(suggestName);
  const join = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim() !== '') onJoin(name.trim());
  };
  return (
    <main className="welcome">
      <form className="welcome-card" onSubmit={join}>
        <Mark />
        <h1>Come aboard</h1>
        <p>Open this page in a second window, be someone else there, and watch the two keep each other current.</p>
        <label htmlFor="name">Your name</label>
        <div className="welcome-name">
          <Monogram name={name.trim() || '?'} />
          <input
            id="name"
            value={name}
            onChange={(event) => setName(event.target.value)}
            onFocus={(event) => event.target.select()}
            maxLength={40}
            autoComplete="off"
            // biome-ignore lint/a11y/noAutofocus: the only field of the page.
            autoFocus
            required
          />
          <button
            type="button"
            className="quiet"
            aria-label="Suggest another name"
            onClick={() => setName(suggestName())}
          >
            Another
          </button>
        </div>
        <button type="submit" className="primary" disabled={name.trim() === ''}>
          Join the chat
        </button>
      </form>
    </main>
  );
}
