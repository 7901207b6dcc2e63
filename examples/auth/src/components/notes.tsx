/** The notes of the user, live. */
import { useMutation, useMutationState, useQuery } from '@avvos/convoy/react';
import { api } from '../../convoy/_generated/api';

export function Notes() {
  const { data: notes } = useQuery(api.notes.mine);
  const { mutate: add, error } = useMutationState(api.notes.add);
  const remove = useMutation(api.notes.remove);
  return (
    <section className="notes" aria-labelledby="notes-title">
      <h2 id="notes-title">Notes</h2>
      <p className="hint">Write one here, and watch it appear in the other browsers where you are signed in.</p>
      <form className="composer" action={(form) => void add({ text: String(form.get('text')) })}>
        <input name="text" aria-label="New note" placeholder="What should not be forgotten?" maxLength={500} required />
        <button type="submit" className="primary">
          Add
        </button>
      </form>
      {error && (
        <p className="field-error" role="alert">
          {error.message}
        </p>
      )}
      {notes?.length === 0 && <p className="empty">No notes yet.</p>}
      <ul>
        {notes?.map(({ id, text }) => (
          <li key={id} data-testid="note">
            <span>{text}</span>
            <button type="button" className="quiet" aria-label={`Delete “${text}”`} onClick={() => void remove({ id })}>
              Delete
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
