/** A server process: PROGRAM is the URL of its program, OPTIONS its options as JSON. It prints its address. */
import { defineStartFile } from '@avvos/convoy/node';

const { PROGRAM, OPTIONS } = process.env;
const { startConvoyServer } = defineStartFile(PROGRAM, () => import(PROGRAM));
await startConvoyServer({ host: '127.0.0.1', createDatabase: true, ...JSON.parse(OPTIONS) });
