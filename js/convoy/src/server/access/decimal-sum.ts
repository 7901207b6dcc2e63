/** Adds numbers as Postgres adds them, so that 0.1 and 0.2 are 0.3. */

/** The sum of two finite numbers in decimal arithmetic. */
export function decimalSum(a: number, b: number): number {
  const [left, right] = [decimalOf(a), decimalOf(b)];
  const exponent = Math.min(left.exponent, right.exponent);
  const scaled = ({ digits, exponent: own }: Decimal): bigint => digits * 10n ** BigInt(own - exponent);
  return Number(`${scaled(left) + scaled(right)}e${exponent}`);
}

/** `digits` times ten to the power of `exponent`. */
interface Decimal {
  readonly digits: bigint;
  readonly exponent: number;
}

function decimalOf(value: number): Decimal {
  const [mantissa = '0', power = '0'] = String(value).split('e');
  const [whole = '0', fraction = ''] = mantissa.split('.');
  return { digits: BigInt(whole + fraction), exponent: Number(power) - fraction.length };
}
