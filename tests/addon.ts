/** The engine's addon as `createConvoy` in this process has loaded it, so that tests can spy on `writeLog`. */
import { loadNative } from '../js/convoy/src/server/native.js';

export const addon = loadNative();
