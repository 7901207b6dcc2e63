import type { ApiRef } from './refs.js';

/** The name in a reference. Throws a `TypeError` if the caller passed something else, as code without types may. */
export function nameOfRef(ref: ApiRef): string {
  const name: unknown = ref?.name;
  if (typeof name === 'string' && typeof ref === 'object') return name;
  const given = typeof ref === 'string' ? `'${ref}'` : ref === null ? 'null' : `a value of type ${typeof ref}`;
  throw new TypeError(
    `Pass a function of the generated \`api\`, such as api.messages.list, instead of ${given}. Without generated code, ` +
      "makeQueryRef('messages.list') of @avvos/convoy/client makes one; makeMutationRef and makeActionRef likewise.",
  );
}
