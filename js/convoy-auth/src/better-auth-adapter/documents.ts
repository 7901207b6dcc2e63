/** The documents as Better Auth sees them, and as they are stored. */

import type { CleanedWhere } from 'better-auth/adapters';
import { type IdForm, idSeen } from './ids.js';
import { type FieldLayout, SEALED_TOKEN, type TableLayout } from './layout.js';
import { hashToken, type TokenSeal } from './session-tokens.js';

/** Field name → value. */
export type Fields = Readonly<Record<string, unknown>>;

/** A document that was read. */
export type Stored = Fields & { readonly id: string };

/** Converts the fields of documents. */
export class Documents {
  readonly #idForm: IdForm;
  readonly #seal: TokenSeal;

  constructor({ idForm, seal }: { readonly idForm: IdForm; readonly seal: TokenSeal }) {
    this.#idForm = idForm;
    this.#seal = seal;
  }

  /** The fields as they are stored. The id is no field of its document. */
  stored({ fields: layouts, tokenField }: TableLayout, fields: Fields): Record<string, unknown> {
    const stored: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(fields)) {
      const isJson = layouts.some((field) => field.name === name && field.type === 'json');
      if (name !== 'id') stored[name] = isJson ? asJson(value) : value instanceof Date ? value.getTime() : value;
    }
    const token = tokenField === null ? undefined : stored[tokenField];
    if (tokenField === null || typeof token !== 'string') return stored;
    return { ...stored, [tokenField]: hashToken(token), [SEALED_TOKEN]: this.#seal.seal(token) };
  }

  /**
   * The document, or the selected fields of it, with `null` for a field that is not stored, as in the other databases of
   * Better Auth. A token by which it was found need not be decrypted.
   */
  seen(table: TableLayout, document: Stored, where: readonly CleanedWhere[], select: readonly string[] = []): Fields {
    const isSelected = (field: { readonly key: string; readonly name: string }): boolean =>
      select.length === 0 || select.includes(field.key) || select.includes(field.name);
    const seen: Record<string, unknown> = {};
    if (isSelected({ key: 'id', name: 'id' })) seen.id = idSeen(document, this.#idForm);
    for (const field of table.fields) {
      if (!isSelected(field)) continue;
      seen[field.name] =
        field.name === table.tokenField ? this.#token(field, document, where) : seenValue(field, document[field.name]);
    }
    return seen;
  }

  #token({ name }: FieldLayout, document: Stored, where: readonly CleanedWhere[]): string | null {
    const hash = document[name];
    const asked = where.filter(({ field }) => field === name).flatMap(({ value }) => value);
    const given = asked.find((value) => typeof value === 'string' && hashToken(value) === hash);
    if (typeof given === 'string') return given;
    const sealed = document[SEALED_TOKEN];
    return typeof sealed === 'string' ? this.#seal.open(sealed) : null;
  }
}

/** As the other databases of Better Auth store it: a `Date` in it as a text, without members that are undefined. */
function asJson(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

function seenValue({ type }: FieldLayout, value: unknown): unknown {
  if (value === undefined || value === null) return null;
  return type === 'date' ? new Date(value as number) : value;
}
