/** The message field. Enter sends, Shift+Enter starts a new line. */
import { isConvoyError } from '@avvos/convoy/client';
import { useMutation } from '@avvos/convoy/react';
import { type FormEvent, type KeyboardEvent, useState } from 'react';
import { api } from '../../convoy/_generated/api';
import type { Me } from '../identity';
import type { Channel } from '../people';
import { useNarrow } from '../screen';

const MAX_LENGTH = 2000;

export function Composer({ channel, me }: { readonly channel: Channel; readonly me: Me }) {
  const send = useMutation(api.messages.send);
  const [text, setText] = useState('');
  const [problem, setProblem] = useState<string | null>(null);
  // Not focused on a phone, where the keyboard would cover half of the messages.
  const isNarrow = useNarrow();
  const body = text.trim();

  const submit = async (event?: FormEvent) => {
    event?.preventDefault();
    if (body === '') return;
    setText('');
    setProblem(null);
    try {
      await send({ channelId: channel.id, author: me.name, body });
    } catch (error) {
      // Restore the text, unless the user has started a new message.
      setText((now) => (now === '' ? body : now));
      setProblem(isConvoyError(error) && error.code !== 'UNAVAILABLE' ? error.message : 'Not sent: no connection.');
    }
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const isSending = event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing;
    if (!isSending) return;
    event.preventDefault();
    void submit();
  };

  return (
    <form className="composer" onSubmit={submit}>
      {problem !== null && (
        <p className="field-error" role="alert">
          {problem}
        </p>
      )}
      <div className="composer-field">
        <textarea
          rows={1}
          aria-label={`Message #${channel.name}`}
          placeholder={`Message #${channel.name}`}
          value={text}
          maxLength={MAX_LENGTH}
          // biome-ignore lint/a11y/noAutofocus: users open a channel in order to write there.
          autoFocus={!isNarrow}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={onKeyDown}
        />
        <button type="submit" className="send" aria-label="Send" disabled={body === ''}>
          <svg viewBox="0 0 24 24" aria-hidden="true">
            <path d="M5 12h13M12 5.5 18.5 12 12 18.5" />
          </svg>
        </button>
      </div>
    </form>
  );
}
