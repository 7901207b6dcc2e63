/** The page of the templates, which is the same chat in all of them. */
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';

interface Window {
  readonly colorScheme?: 'light' | 'dark';
  /** Called with each error in the console, such as a page that differs from what the server has rendered. */
  readonly onError?: (text: string) => void;
}

/** Opens the page in a window of its own, and waits until it is live. */
export async function openPage(
  browser: Browser,
  address: string,
  { colorScheme = 'light', onError = () => {} }: Window = {},
): Promise<Page> {
  const context = await browser.newContext({ colorScheme, viewport: { width: 960, height: 720 } });
  // A development server compiles what the page needs at the first request.
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  page.on('pageerror', ({ message }) => onError(message));
  page.on('console', (message) => {
    if (message.type() === 'error') onError(message.text());
  });
  await page.goto(address);
  await page.getByText('Live', { exact: true }).waitFor();
  return page;
}

/** Saves a picture of the page if CONVOY_TEST_SCREENSHOTS names a folder. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.CONVOY_TEST_SCREENSHOTS;
  if (folder === undefined) return;
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

export async function send(page: Page, author: string, body: string): Promise<void> {
  await page.getByLabel('Your name').fill(author);
  await page.getByLabel('Message', { exact: true }).fill(body);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Waits until the page shows a message with this text. */
export const shows = (page: Page, text: string) => page.getByRole('listitem').filter({ hasText: text }).waitFor();

/** Waits until it shows none. */
export const hides = (page: Page, text: string) =>
  page.getByRole('listitem').filter({ hasText: text }).waitFor({ state: 'detached' });

/**
 * Sends a message from each of two windows, light and dark, and waits until the other one shows it. Returns the errors in
 * their consoles.
 */
export async function talkInTwoWindows(browser: Browser, address: string, name: string): Promise<string[]> {
  const errors: string[] = [];
  const onError = (text: string) => void errors.push(text);
  const light = await openPage(browser, address, { onError });
  const dark = await openPage(browser, address, { colorScheme: 'dark', onError });
  await picture(light, `${name}-empty`);
  await send(light, 'Ada', 'Is anybody here?');
  await shows(dark, 'Is anybody here?');
  await send(dark, 'Grace', 'Just opened a second window.');
  await shows(light, 'Just opened a second window.');
  await light.getByRole('button', { name: 'Like the message of Grace, 0 so far' }).click();
  await dark.getByRole('button', { name: 'Like the message of Grace, 1 so far' }).waitFor();
  await picture(light, `${name}-light`);
  await picture(dark, `${name}-dark`);
  await light.context().close();
  await dark.context().close();
  return errors;
}
