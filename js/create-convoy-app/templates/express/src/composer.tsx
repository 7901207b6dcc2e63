import { useMutationState } from '@avvos/convoy/react';
import { type FormEvent, useState } from 'react';
import { api } from '../convoy/_generated/api';

/** The form for a new message. */
export function Composer() {
  const { mutate: send, error, isLoading } = useMutationState(api.messages.send);
  const [author, setAuthor] = useState(() => localStorage.getItem('author') ?? '');
  const [body, setBody] = useState('');

  function submit(event: FormEvent) {
    event.preventDefault();
    localStorage.setItem('author', author);
    send({ author, body }).then(
      () => setBody(''),
      () => {}, // The form shows `error`, and keeps the text.
    );
  }

  return (
    <form className="composer card" onSubmit={submit}>
      <label>
        Your name
        <input
          value={author}
          onChange={(event) => setAuthor(event.target.value)}
          autoComplete="nickname"
          maxLength={40}
          required
        />
      </label>
      <label className="grow">
        Message
        <input
          value={body}
          onChange={(event) => setBody(event.target.value)}
          placeholder="Hello, everyone"
          autoComplete="off"
          maxLength={280}
          required
        />
      </label>
      <button type="submit" className="primary" disabled={isLoading}>
        Send
      </button>
      {error && (
        <p className="problem" role="alert">
          {error.message}
        </p>
      )}
    </form>
  );
}
