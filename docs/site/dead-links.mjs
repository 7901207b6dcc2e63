// Finds links and anchors of the built site that lead nowhere. VitePress finds only missing pages.
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

/**
 * @param {string} folder the built site
 * @param {string} base the path that it is served below, with slashes at both ends
 * @returns {Promise<string[]>} `page: link`, for each dead link
 */
export async function deadLinks(folder, base) {
  const files = (await readdir(folder, { recursive: true })).map((file) => file.split(sep).join('/'));
  const names = new Set(files);
  const pages = new Map(
    await Promise.all(
      files.filter((file) => file.endsWith('.html')).map(async (file) => [file, await pageOf(join(folder, file))]),
    ),
  );
  const dead = [];
  for (const [file, { links }] of pages) {
    for (const link of links) {
      const { origin, pathname, hash } = new URL(link, `http://site${base}${file}`);
      if (origin !== 'http://site') continue;
      const target = fileOf(decodeURI(pathname), base, names);
      const anchor = decodeURIComponent(hash.slice(1));
      const exists = target !== null && (anchor === '' || (pages.get(target)?.ids.has(anchor) ?? false));
      if (!exists) dead.push(`${file}: ${link}`);
    }
  }
  return [...new Set(dead)];
}

async function pageOf(path) {
  const html = await readFile(path, 'utf8');
  const attributes = (name) =>
    Array.from(html.matchAll(new RegExp(`<[a-z][^>]*\\s${name}="([^"]*)"`, 'g')), ([, value]) =>
      value.replaceAll('&amp;', '&').replaceAll('&#39;', "'"),
    );
  return { links: attributes('href'), ids: new Set(attributes('id')) };
}

/** The file that a path is served from, as GitHub Pages does it; null if there is none. */
function fileOf(pathname, base, names) {
  if (!`${pathname}/`.startsWith(base)) return null;
  const path = relative(base, pathname).split(sep).join('/');
  const candidates = [path, `${path}.html`, path === '' ? 'index.html' : `${path}/index.html`];
  return candidates.find((name) => names.has(name)) ?? null;
}
