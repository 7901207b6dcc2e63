import { describe, expect, expectTypeOf, it } from 'vitest';
import { formatId, type Id, idOf, isIdOf, isUuid, parseId } from './ids.js';

const UUID = '01890c5e-9d2b-7cc3-8f11-aa0b6f5c2d10';

describe('ids', () => {
  it('consist of a table and a uuid, and can be parsed', () => {
    const id = formatId('messages', UUID);
    expect(id).toBe(`messages:${UUID}`);
    expect(parseId(id)).toEqual({ table: 'messages', uuid: UUID });
  });

  it('may be of any uuid version, and are written in lower case', () => {
    const old = 'B7E23EC2-9AF1-4F3A-9D56-0E9D34F4A111';
    expect(isUuid(old)).toBe(true);
    expect(parseId(`messages:${old}`)).toEqual({ table: 'messages', uuid: old.toLowerCase() });
  });

  it.each([
    '',
    'messages',
    `:${UUID}`,
    UUID,
    `messages:${UUID}x`,
    `messages:{${UUID}}`,
    `messages:${UUID.replaceAll('-', '')}`,
    `messages:${UUID}\n`,
    7,
    null,
    { toString: () => `messages:${UUID}` },
  ])('are not %j', (value) => {
    expect(parseId(value)).toBeNull();
  });

  it('belong to one table', () => {
    expect(isIdOf('messages', `messages:${UUID}`)).toBe(true);
    expect(isIdOf('messages', `channels:${UUID}`)).toBe(false);
    expect(isIdOf('messages', `xmessages:${UUID}`)).toBe(false);
  });
});

describe('idOf', () => {
  const uuid = '01890C5E-0000-7000-8000-000000000000';

  it('makes an id from a bare uuid, in lower case like Postgres', () => {
    expectTypeOf(idOf('issues', uuid)).toEqualTypeOf<Id<'issues'>>();
    expect(idOf('issues', uuid)).toBe(`issues:${uuid.toLowerCase()}`);
  });

  it.each([['issues:01890c5e-0000-7000-8000-000000000000'], ['x'], [''], [null], [undefined], [7], [{}]])(
    'refuses %j',
    (value) => {
      expect(() => idOf('issues', value as never)).toThrow(/takes the bare uuid of a document, not/);
    },
  );
});
