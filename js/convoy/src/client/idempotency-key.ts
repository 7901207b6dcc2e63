/** Random bytes as hexadecimal text. Not `crypto.randomUUID`, which is missing on pages served over plain HTTP from another machine. */
export function randomHex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, '0')).join(
    '',
  );
}

/** 128 random bits. */
export function newIdempotencyKey(): string {
  return randomHex(16);
}
