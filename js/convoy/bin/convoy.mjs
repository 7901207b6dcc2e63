#!/usr/bin/env node
// Committed, so that npm can link the command before anything is built.
import { oldNodeMessage } from '../dist/server/node-version.js';

const message = oldNodeMessage();
if (message === null) {
  await import('../dist/cli/main.js');
} else {
  // Old versions cannot load the rest.
  console.error(message);
  process.exitCode = 1;
}
