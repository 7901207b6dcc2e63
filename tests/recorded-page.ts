/**
 * Records what a page shows and receives, from before its first script runs: every text of the body, the responses of
 * its live queries and calls, and its errors.
 */
import type { Page } from 'playwright-core';

interface Recording {
  /** The texts that the page has shown, from the whole HTML on, each with a difference to the one before. */
  readonly texts: string[];
  /** What the stream of the live queries has transferred. */
  live: string;
  /** The paths of all calls. */
  readonly calls: string[];
}

export interface RecordedPage {
  recording(): Promise<Recording>;
  /** Errors in the console and exceptions, such as those of a hydration that differs from the HTML. */
  readonly errors: readonly string[];
}

export async function recordPage(page: Page): Promise<RecordedPage> {
  const errors: string[] = [];
  page.on('pageerror', ({ message }) => errors.push(message));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  await page.addInitScript(installRecorder);
  return {
    errors,
    recording: () => page.evaluate(() => (window as unknown as { recording: Recording }).recording),
  };
}

/** Scripts of the page wait until `release` is called, so that a test can act between the HTML and its hydration. */
export async function holdScripts(page: Page): Promise<{ release(): void }> {
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  await page.route(
    () => true,
    async (route) => {
      if (route.request().resourceType() === 'script') await released;
      await route.continue();
    },
  );
  return { release };
}

/** Runs in the page. */
function installRecorder(): void {
  const recording: Recording = { texts: [], live: '', calls: [] };
  Object.assign(window, { recording });

  // Deferred scripts run after the document has arrived. From then on no text is missed: the observer is called at the end
  // of each task that has changed the document.
  const record = () => {
    if (document.readyState === 'loading') return;
    const text = document.body.innerText.trim();
    if (text !== recording.texts.at(-1)) recording.texts.push(text);
  };
  document.addEventListener('readystatechange', record);
  new MutationObserver(record).observe(document, { childList: true, characterData: true, subtree: true });

  const original = window.fetch;
  window.fetch = async (url, request) => {
    const { pathname } = new URL(url instanceof Request ? url.url : String(url), location.href);
    if (pathname.startsWith('/api/')) recording.calls.push(pathname);
    const response = await original(url, request);
    if (pathname !== '/api/live' || response.body === null) return response;
    const [own, recorded] = response.body.tee();
    void recorded.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({
        write: (chunk) => {
          recording.live += chunk;
        },
      }),
    );
    return new Response(own, response);
  };
}
