import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { createTerminal } from '../terminal.js';
import { listenForShortcuts } from './shortcuts.js';

it('runs the shortcuts that are typed as whole lines, one after the other, and lists them for h', async () => {
  const shown = new PassThrough();
  const typed = new PassThrough();
  const ran: string[] = [];
  let finish = () => {};
  const stop = listenForShortcuts(
    [
      {
        names: ['r'],
        does: 'restart the server',
        run: async () => {
          await new Promise<void>((resolve) => {
            finish = resolve;
            ran.push('r begins');
          });
          ran.push('r ends');
        },
      },
      { names: ['l', 'live'], does: 'list the live queries', run: () => void ran.push('l') },
      { names: ['o'], does: 'open the page', run: () => Promise.reject(new Error('there is no browser')) },
    ],
    createTerminal({ verbose: false, stream: shown }),
    typed,
  );
  typed.write('r\nlively\n LIVE \no\nh\n');
  while (ran.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(ran).toEqual(['r begins']);
  finish();
  let text = '';
  for await (const chunk of shown) {
    text += String(chunk);
    if (text.includes('list the shortcuts')) break;
  }
  expect(ran).toEqual(['r begins', 'r ends', 'l']);
  expect(text).toContain('there is no browser');
  for (const does of ['restart the server', 'list the live queries', 'open the page']) expect(text).toContain(does);
  stop();
});
