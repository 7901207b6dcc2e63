/** A field that creates a channel and opens it. */
import { useMutationState } from '@avvos/convoy/react';
import { type FormEvent, useState } from 'react';
import { api } from '../../convoy/_generated/api';
import { addressOf } from '../route';

export function NewChannel({ onCreated }: { readonly onCreated: () => void }) {
  const { mutate, error, isLoading, reset } = useMutationState(api.channels.create);
  const [text, setText] = useState('');
  const name = channelName(text);

  const createChannel = async (event: FormEvent) => {
    event.preventDefault();
    if (name === '' || isLoading) return;
    try {
      await mutate({ name });
    } catch {
      // Shown below the field, from `error`.
      return;
    }
    setText('');
    window.location.hash = addressOf(name);
    onCreated();
  };

  return (
    <form className="new-channel" onSubmit={createChannel}>
      <div className="new-channel-field">
        <input
          aria-label="New channel"
          aria-describedby={error ? 'new-channel-error' : undefined}
          aria-invalid={error !== null}
          placeholder="New channel"
          value={text}
          maxLength={32}
          autoComplete="off"
          onChange={(event) => {
            setText(event.target.value);
            reset();
          }}
        />
        <button type="submit" disabled={name === '' || isLoading}>
          Add
        </button>
      </div>
      {error && (
        <p id="new-channel-error" className="field-error" role="alert">
          {error.message}
        </p>
      )}
    </form>
  );
}

/** The form of channel names: lower case, words joined by hyphens. */
function channelName(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replace(/[\s#/]+/g, '-')
    .replace(/^-+|-+$/g, '');
}
