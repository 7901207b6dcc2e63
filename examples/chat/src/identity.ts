/**
 * The identity of this tab. Stored per tab, so that two windows of one browser can be two people. There is no password,
 * because this example shows live data, not accounts.
 */

export interface Identity {
  /** Identifies this tab to the server; never shown. */
  readonly session: string;
  /** `null` until the user has chosen one. */
  readonly name: string | null;
}

/** The user of this tab, after joining. */
export interface Me {
  readonly session: string;
  readonly name: string;
}

const NAME = 'convoy-chat:name';
const SESSION = 'convoy-chat:session';

export function loadIdentity(): Identity {
  const session = sessionStorage.getItem(SESSION) ?? newSession();
  sessionStorage.setItem(SESSION, session);
  return { session, name: sessionStorage.getItem(NAME) };
}

export function rememberName(name: string): Identity {
  sessionStorage.setItem(NAME, name);
  return loadIdentity();
}

export function forgetName(): Identity {
  sessionStorage.removeItem(NAME);
  return loadIdentity();
}

/** Not `crypto.randomUUID`, which is missing on pages served over plain HTTP from another machine. */
function newSession(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36).padStart(7, '0')).join('');
}

const FIRST = [
  'Amber',
  'Brave',
  'Calm',
  'Dapper',
  'Early',
  'Gentle',
  'Jolly',
  'Lucky',
  'Mellow',
  'Nimble',
  'Quiet',
  'Sunny',
];
const SECOND = [
  'Badger',
  'Crane',
  'Dolphin',
  'Falcon',
  'Heron',
  'Ibex',
  'Lynx',
  'Marten',
  'Otter',
  'Puffin',
  'Tern',
  'Wren',
];

/** Suggests a random name, such as “Mellow Puffin”. */
export function suggestName(): string {
  return `${pick(FIRST)} ${pick(SECOND)}`;
}

function pick(words: readonly string[]): string {
  return words[Math.floor(Math.random() * words.length)] ?? '';
}
