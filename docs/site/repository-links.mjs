// Links of the documentation to files that are no pages of the site: they lead to the repository's web address.
import { existsSync, statSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';

export const repository = 'https://github.com/avvos/convoy';

/**
 * A plugin of markdown-it. A relative link to a file outside of `docs`, or to one that is no Markdown, is rewritten; it
 * is an error if the file does not exist. Links between pages are left to VitePress.
 *
 * @param {import('markdown-it').default} markdown
 * @param {{ root: string, docs: string }} folders absolute paths: the repository, and the pages
 */
export function repositoryLinks(markdown, { root, docs }) {
  markdown.core.ruler.push('repository-links', ({ tokens, env }) => {
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      if (token.type !== 'link_open') continue;
      const address = repositoryAddress(token.attrGet('href') ?? '', env.path, { root, docs });
      if (address !== null) token.attrSet('href', address);
    }
  });
}

/** The address of a link's target in the repository, or null if the link stays as it is. */
export function repositoryAddress(href, page, { root, docs }) {
  if (/^([a-z]+:|#|\/)/i.test(href)) return null;
  const [path, anchor] = href.split('#');
  const target = join(dirname(page), decodeURI(path));
  const inDocs = !relative(docs, target).startsWith('..');
  if (inDocs && (/\.md$/.test(target) || !/\.\w+$/.test(target))) return null;
  const place = relative(root, target);
  if (place.startsWith('..') || !existsSync(target)) {
    throw new Error(`${relative(root, page)}: the link ${href} leads to ${place}, which does not exist.`);
  }
  const kind = statSync(target).isDirectory() ? 'tree' : 'blob';
  return `${repository}/${kind}/main/${place.split(sep).join('/')}${anchor === undefined ? '' : `#${anchor}`}`;
}
