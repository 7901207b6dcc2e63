/** A line of `convoy doctor`. */
export interface DoctorLine {
  readonly name: string;
  readonly level: 'ok' | 'warn' | 'fail';
  readonly message: string;
  /** The remedy; a statement or command where there is one. */
  readonly remedy?: string;
}

export const ok = (name: string, message: string): DoctorLine => ({ name, level: 'ok', message });

export const warn = (name: string, message: string, remedy: string): DoctorLine => {
  return { name, level: 'warn', message, remedy };
};

export const fail = (name: string, message: string, remedy?: string): DoctorLine => {
  return { name, level: 'fail', message, ...(remedy === undefined ? {} : { remedy }) };
};
