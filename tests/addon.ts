/** The engine's addon, as `createConvoy` in this process has loaded it: to see what it is given to write into the log. */
import { loadNative } from '../js/convoy/src/server/native.js';

export const addon = loadNative();
