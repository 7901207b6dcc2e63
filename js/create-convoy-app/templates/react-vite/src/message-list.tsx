import { useMutation } from '@avvos/convoy/react';
import { api } from '../convoy/_generated/api';
import type { Doc } from '../convoy/_generated/dataModel';

/** The messages, newest first; `null` until they have arrived. */
export function MessageList({ messages }: { messages: Doc<'messages'>[] | null }) {
  if (messages === null) return <p className="empty soft">Loading…</p>;
  if (messages.length === 0) return <p className="empty soft">No messages yet. Write the first one.</p>;
  return (
    <ul className="messages" aria-live="polite" aria-relevant="additions">
      {messages.map((message) => (
        <Message key={message.id} message={message} />
      ))}
    </ul>
  );
}

function Message({ message }: { message: Doc<'messages'> }) {
  // Shown at once; the server's result replaces it.
  const like = useMutation(api.messages.like, {
    optimistic: (store, { id }) =>
      store.set(api.messages.list, {}, (all) =>
        all.map((one) => (one.id === id ? { ...one, likes: one.likes + 1 } : one)),
      ),
  });
  const { id, author, body, likes, _creationTime } = message;
  const sent = new Date(_creationTime);
  return (
    <li className="message card">
      <p className="byline">
        <strong>{author}</strong>
        <time className="soft" dateTime={sent.toISOString()}>
          {sent.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}
        </time>
      </p>
      <p className="body">{body}</p>
      <button
        type="button"
        className="like"
        aria-label={`Like the message of ${author}, ${likes} so far`}
        onClick={() => like({ id })}
      >
        <span aria-hidden="true">♥</span> {likes}
      </button>
    </li>
  );
}
