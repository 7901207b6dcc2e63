/** What the server imports: Convoy, and the page. */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { StrictMode } from 'react';
import { renderToString } from 'react-dom/server';
import { api } from '../convoy/_generated/api';
import { convoy } from '../convoy/convoy';
import { App, type PageData } from './app';
import { cookieOf, visitorIn } from './visitor';

export { convoy };

/** The page for the visitor of a request, and the headers of its response. */
export async function renderPage(template: string, request: { headers: IncomingHttpHeaders }) {
  const visitor = visitorIn(request.headers.cookie) ?? randomUUID();
  const headers = { ...request.headers, cookie: cookieOf(visitor) };
  const data: PageData = { tasks: await convoy.preload(api.tasks.mine, {}, { headers }) };
  const rendered = renderToString(
    <StrictMode>
      <App {...data} />
    </StrictMode>,
  );
  return {
    // Functions, because `replace` would read `$&` in a text as a pattern. Preloaded queries contain no `<`.
    html: template.replace('<!--rendered-->', () => rendered).replace('"<!--preloaded-->"', () => JSON.stringify(data)),
    headers: {
      'content-type': 'text/html; charset=utf-8',
      // The page is this visitor's.
      'cache-control': 'private, no-store',
      'set-cookie': `${cookieOf(visitor)}; Path=/; HttpOnly; SameSite=Lax`,
    },
  };
}
