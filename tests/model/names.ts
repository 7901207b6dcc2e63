/** Random names of tables, fields, indexes and functions, and which of them may be used. */
import type { Random } from './random.js';

/** What ends or begins something in SQL, JSON, a URL, a log or a terminal, or is no character at all. */
const PARTS = [
  ...['"', '""', "'", "''", '\\', "\\'", '\\"', '$$', '$1', '`', ';', '--', '/*', '*/', '(', ')', ',', '.', '..', ' '],
  ...[
    '%',
    '%s',
    '%I',
    '%2e',
    '/',
    '?',
    '#',
    '&',
    ':',
    '@',
    '{',
    '}',
    '[',
    '0]',
    '<',
    '>',
    '=',
    '|',
    '*',
    '~',
    '+',
    '_',
  ],
  ...['\t', '\n', '\r\n', '\u0000', '\u0001', '\u001b[31m', '\u007f', '\u0085', '\u2028', '\u202e', '\u200b', '\ufeff'],
  ...['é', 'e\u0301', 'İ', 'ß', 'ﬀ', '😀', '👩‍👧', '\ud800', '\udc00', '\uffff', '\u{10ffff}'],
  ...['"; drop table bystander; --', "'; drop table bystander; --", "')); drop table bystander; --"],
];
/** What means something to JavaScript, Postgres or Convoy. */
const WORDS = [
  ...[
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    'valueOf',
    'then',
    'toJSON',
    'length',
    '0',
  ],
  ...['select', 'table', 'user', 'order', 'null', 'true', 'default', 'new', 'old', 'text', 'jsonb', 'ctid', 'xmin'],
  ...['id', '_creationTime', 'by_id', 'by_creation_time', 'data', 'created_at', 'updated_at', 'changes', '_convoy'],
  ...['public', 'pg_class', 'pg_temp', 'pg_stat_activity', 'pg_notes', 'information_schema'],
];
/** Postgres truncates longer names. */
const MAX_BYTES = 63;

const bytesOf = (name: string) => new TextEncoder().encode(name).length;
const isWellFormed = (name: string) => (name as string & { isWellFormed(): boolean }).isWellFormed();
const isText = (name: string) => !name.includes('\u0000') && isWellFormed(name);

export function anyName(random: Random): string {
  const kind = random.weighted({ hostile: 6, word: 2, identifier: 1, long: 2, empty: 0.2 });
  if (kind === 'empty') return '';
  if (kind === 'word') return random.pick(WORDS);
  if (kind === 'identifier') return identifier(random);
  if (kind === 'long') return long(random, random.pick(['x', 'é', '😀', '"', "'", '\\']));
  const parts = Array.from({ length: 1 + random.below(4) }, () => random.pick(PARTS));
  return parts.map((part) => (random.chance(0.5) ? `${identifier(random)}${part}` : part)).join('');
}

/** A name of a table in code, or of an index: mostly one that may be used. */
export function mostlyIdentifier(random: Random): string {
  const kind = random.weighted({ identifier: 4, word: 4, long: 1, any: 1 });
  if (kind === 'any') return anyName(random);
  if (kind === 'word') return random.pick(WORDS);
  return kind === 'long' ? long(random, 'x') : identifier(random);
}

function identifier(random: Random): string {
  const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_';
  return Array.from({ length: 2 + random.below(6) }, () => letters[random.below(letters.length)]).join('');
}

/** A name of about the most bytes that a name may have. */
function long(random: Random, character: string): string {
  const start = identifier(random);
  return start + character.repeat(Math.ceil((MAX_BYTES - 1 - bytesOf(start) + random.below(3)) / bytesOf(character)));
}

/** Whether a table or an index may have the name in code. */
export const isCodeName = (name: string): boolean => /^[A-Za-z_]\w*$/.test(name) && name.length <= MAX_BYTES;

/** Whether a table may have the name in Postgres. */
export const isPhysicalName = (name: string): boolean =>
  name !== '' && bytesOf(name) <= MAX_BYTES && isText(name) && !name.startsWith('pg_');

/** Whether a document may have a field of the name. */
export const isFieldName = (name: string): boolean => isText(name) && name !== '__proto__';

/** Whether an index may name the field. */
export const isIndexable = (name: string): boolean => name !== '' && !name.includes('.');

/** Whether a function may have the name, in a folder of any name. */
export const isFunctionName = (name: string): boolean => isIndexable(name) && isText(name);

/** Whether a folder may have the name. */
export const isFolderName = isText;
