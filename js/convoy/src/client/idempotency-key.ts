/**
 * Random bytes as hexadecimal text. Not `crypto.randomUUID`, which is missing on pages served over plain HTTP from
 * another machine. React Native has no `crypto` at all; keys need to be unique, not secret.
 */
export function randomHex(bytes: number): string {
  const random = new Uint8Array(bytes);
  if (globalThis.crypto) crypto.getRandomValues(random);
  else for (let n = 0; n < bytes; n++) random[n] = Math.random() * 256;
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** 128 random bits. */
export function newIdempotencyKey(): string {
  return randomHex(16);
}
