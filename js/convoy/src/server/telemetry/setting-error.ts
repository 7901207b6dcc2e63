/** The error of a setting that cannot be used. */

import { ConvoyError } from '../../values/errors.js';

export function settingError(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', message);
}
