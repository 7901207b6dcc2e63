/**
 * Session tokens as they are stored: the SHA-256, by which a session is found, and the token itself encrypted with the
 * secret of Better Auth, which has to return it in its list of sessions. Who can read the database or its change log can
 * thus not use the sessions.
 */

import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';

const ALGORITHM = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** The text by which a token is found. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** The secrets of Better Auth, the current one first. */
export interface Secrets {
  readonly secrets?: readonly { readonly value: string }[] | undefined;
  readonly secret?: string | undefined;
}

/** Encrypts and decrypts tokens. */
export class TokenSeal {
  readonly #secrets: readonly string[];
  readonly #keys = new Map<string, Buffer>();

  constructor(options: Secrets) {
    this.#secrets = secretsOf(options);
  }

  /** The token, encrypted with the current secret. */
  seal(token: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, this.#key(this.#secrets[0] as string), nonce);
    const encrypted = Buffer.concat([cipher.update(token, 'utf8'), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), encrypted]).toString('base64url');
  }

  /** The token; `null` if it was encrypted with a secret that is no longer known, by which its cookie is invalid, too. */
  open(sealed: string): string | null {
    const bytes = Buffer.from(sealed, 'base64url');
    if (bytes.length < NONCE_BYTES + TAG_BYTES) return null;
    for (const secret of this.#secrets) {
      const decipher = createDecipheriv(ALGORITHM, this.#key(secret), bytes.subarray(0, NONCE_BYTES));
      decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      const text = decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES));
      try {
        return Buffer.concat([text, decipher.final()]).toString('utf8');
      } catch {
        // The tag does not fit: another secret, of which there may be several.
      }
    }
    return null;
  }

  #key(secret: string): Buffer {
    let key = this.#keys.get(secret);
    if (key === undefined) {
      key = Buffer.from(hkdfSync('sha256', secret, '', 'convoy session token', 32));
      this.#keys.set(secret, key);
    }
    return key;
  }
}

/** Better Auth uses this secret where none is set, and refuses to start with it in production. */
const DEVELOPMENT_SECRET = 'better-auth-secret-12345678901234567890';

/** Better Auth reads the environment after it has created its adapter, whose options have only what the program passes. */
function secretsOf({ secrets, secret }: Secrets): string[] {
  const { BETTER_AUTH_SECRETS, BETTER_AUTH_SECRET, AUTH_SECRET } = process.env;
  const versions = secrets?.map(({ value }) => value) ?? versionsIn(BETTER_AUTH_SECRETS);
  const all = [...versions, secret || BETTER_AUTH_SECRET || AUTH_SECRET].filter((each) => each !== undefined);
  return all.length === 0 ? [DEVELOPMENT_SECRET] : all;
}

/** The secrets in `2:new,1:old`. */
function versionsIn(text: string | undefined): string[] {
  if (text === undefined || text === '') return [];
  return text.split(',').map((entry) => entry.slice(entry.indexOf(':') + 1).trim());
}
