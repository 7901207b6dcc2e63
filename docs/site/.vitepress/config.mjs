// The documentation site: the pages of docs/, where they are. SITE_URL is its address, without a slash at the end, and
// SITE_BASE the path of that address, with slashes at both ends.
import { join } from 'node:path';
import GithubSlugger from 'github-slugger';
import { defineConfig } from 'vitepress';
import { deadLinks } from '../dead-links.mjs';
import { writeLlmsFiles } from '../llms.mjs';
import { repository, repositoryLinks } from '../repository-links.mjs';
import { checkSidebar, sidebar } from './sidebar.mjs';

const root = join(import.meta.dirname, '../../..');
const docs = join(root, 'docs');
const description = 'A reactive backend in one Node process, on the Postgres you already have.';
const base = process.env.SITE_BASE ?? '/';
const url = process.env.SITE_URL ?? '';

/** Vue evaluates `{{ … }}` in code within a sentence, but not in blocks of code. */
function literalCode(markdown) {
  const render = markdown.renderer.rules.code_inline;
  markdown.renderer.rules.code_inline = (tokens, at, ...rest) => {
    tokens[at].attrSet('v-pre', '');
    return render(tokens, at, ...rest);
  };
}

export default defineConfig({
  srcDir: '..',
  srcExclude: ['site/**'],
  outDir: 'dist',
  cacheDir: '.vitepress/cache',
  base,
  lang: 'en',
  title: 'Convoy',
  description,
  cleanUrls: true,
  lastUpdated: true,
  head: [
    ['link', { rel: 'icon', type: 'image/svg+xml', href: `${base}icon.svg` }],
    ['meta', { name: 'theme-color', content: '#14535c' }],
  ],
  markdown: {
    theme: { light: 'github-light', dark: 'github-dark' },
    // The anchors that GitHub makes, so that the same links work in both places.
    anchor: { slugify: (heading) => new GithubSlugger().slug(heading) },
    config: (markdown) => markdown.use(repositoryLinks, { root, docs }).use(literalCode),
  },
  vite: {
    publicDir: join(root, 'docs/site/public'),
    server: { fs: { allow: [root] } },
    // The index of the search is one chunk, which is loaded when it is opened.
    build: { chunkSizeWarningLimit: 2000 },
  },
  themeConfig: {
    logo: '/icon.svg',
    nav: [
      { text: 'Guide', link: '/start', activeMatch: '^/(?!reference|internals).' },
      { text: 'Reference', link: '/reference/commands', activeMatch: '^/reference/' },
      { text: 'Changelog', link: `${repository}/blob/main/CHANGELOG.md` },
    ],
    sidebar,
    outline: { level: [2, 3] },
    search: {
      provider: 'local',
      options: {
        detailedView: true,
        miniSearch: {
          // Guides come first. The function is sent to the page as text, so it uses nothing from here.
          searchOptions: { boostDocument: (page) => (/\/(internals|reference\/api)\//.test(page) ? 0.3 : 1) },
        },
      },
    },
    socialLinks: [{ icon: 'github', link: repository }],
    editLink: { pattern: `${repository}/edit/main/docs/:path`, text: 'Edit this page' },
    footer: { message: 'MIT licensed.' },
  },
  transformPageData({ relativePath }) {
    const isGenerated = relativePath.startsWith('reference/');
    return isGenerated ? { frontmatter: { editLink: false, lastUpdated: false } } : undefined;
  },
  async buildEnd({ outDir, pages }) {
    checkSidebar(pages);
    await writeLlmsFiles({ docs, out: outDir, url, title: 'Convoy', description, sidebar });
    const dead = await deadLinks(outDir, base);
    if (dead.length > 0) throw new Error(`Dead links in the documentation:\n  ${dead.join('\n  ')}`);
  },
});
