import { expect, it } from 'vitest';
import { idSeen, parseId } from './ids.js';

const uuid = '01a228d9-fcd6-7367-9dae-fa5622aa4968';

it('ids of documents are the ids that Better Auth sees', () => {
  const parsed = parseId('user', `user:${uuid}`, 'document');
  expect(parsed).toEqual({ id: `user:${uuid}`, uuid, given: null });
  expect(idSeen({ id: parsed.id }, 'document')).toBe(`user:${uuid}`);
});

it('with uuids, Better Auth sees them without the table, in lower case', () => {
  const parsed = parseId('user', uuid.toUpperCase(), 'uuid');
  expect(parsed).toEqual({ id: `user:${uuid}`, uuid, given: null });
  expect(idSeen({ id: parsed.id }, 'uuid')).toBe(uuid);
});

it.each(['digest', `session:${uuid}`, 'user:', `user:${uuid.toUpperCase()}`, ''])(
  'any other id, such as %j, has a uuid of its own that is always the same',
  (given) => {
    const parsed = parseId('user', given, 'document');
    expect(parsed).toEqual(parseId('user', given, 'document'));
    expect(parsed.uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(parsed.uuid).not.toBe(parseId('account', given, 'document').uuid);
    expect(idSeen({ id: parsed.id, givenId: parsed.given }, 'document')).toBe(given);
  },
);
