import { describe, expect, it } from 'vitest';
import { formatId, isIdOf, isUuid, parseId } from './ids.js';

const UUID = '01890c5e-9d2b-7cc3-8f11-aa0b6f5c2d10';

describe('ids', () => {
  it('are a table and a uuid, and come apart again', () => {
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
