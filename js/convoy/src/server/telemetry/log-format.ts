/** The form of the log, by an option, a flag or `CONVOY_LOG_FORMAT`. */

import type { LogFormat } from '../options.js';
import { settingError } from './setting-error.js';

/** Returns the form; throws an error that begins with `subject` if it is none. */
export function checkLogFormat(given: unknown, subject: string): LogFormat {
  if (given === 'pretty' || given === 'json') return given;
  throw settingError(`${subject} is ${JSON.stringify(given)}: give pretty or json.`);
}

/** The form that the option or the environment names; `undefined` if neither does. */
export function logFormatOf(
  option: LogFormat | undefined,
  env: Readonly<Record<string, string | undefined>>,
): LogFormat | undefined {
  if (option !== undefined) return checkLogFormat(option, 'logFormat');
  const { CONVOY_LOG_FORMAT: text } = env;
  return text ? checkLogFormat(text, 'CONVOY_LOG_FORMAT') : undefined;
}
