/** The documentation site: what makes its build fail, and the pages that are generated. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkSidebar } from '../docs/site/.vitepress/sidebar.mjs';
import { deadLinks } from '../docs/site/dead-links.mjs';
import { summaryOf, writeLlmsFiles } from '../docs/site/llms.mjs';
import { repository, repositoryAddress } from '../docs/site/repository-links.mjs';
import { commandReference, commandReferenceFile } from '../scripts/command-reference.mjs';

const root = path.join(import.meta.dirname, '..');
const docs = path.join(root, 'docs');

let folder;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'convoy-site-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function write(files) {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
}

test('the command reference is what the program prints', async () => {
  const page = await readFile(commandReferenceFile, 'utf8');
  // After a change of a command: node scripts/command-reference.mjs
  expect(page).toBe(await commandReference());
  for (const command of ['dev', 'start', 'migrate', 'import', 'doctor'])
    expect(page).toContain(`## convoy ${command}\n`);
});

describe('links of the built site', () => {
  const pages = {
    'index.html':
      '<a href="/convoy/guide">a</a> <a href="/convoy/guide#first-part">b</a> <a href="https://x.org">c</a>',
    'guide.html': '<h2 id="first-part">x</h2> <a href="./reference/">d</a> <link rel="icon" href="/convoy/icon.svg">',
    'reference/index.html': '<a href="../guide.html#first-part">e</a> <a href="#">f</a>',
    'icon.svg': '',
  };

  test('that lead to pages, anchors and files are not reported', async () => {
    await write(pages);
    expect(await deadLinks(folder, '/convoy/')).toEqual([]);
  });

  test.each([
    ['a page', '/convoy/gide'],
    ['an anchor', '/convoy/guide#second-part'],
    ['an anchor of the same page', '#top'],
    ['a file', '/convoy/icon.png'],
    ['a page outside of the base', '/guide'],
  ])('that lead to no %s are', async (_what, link) => {
    await write({ ...pages, 'bad.html': `<p class="x"><a class="y" href="${link}">x</a></p>` });
    expect(await deadLinks(folder, '/convoy/')).toEqual([`bad.html: ${link}`]);
  });
});

describe('links to files of the repository', () => {
  const address = (href, page = 'docs/internals/glossary.md') =>
    repositoryAddress(href, path.join(root, page), { root, docs });

  test('become addresses on the web', () => {
    expect(address('../../ARCHITECTURE.md#overview')).toBe(`${repository}/blob/main/ARCHITECTURE.md#overview`);
    expect(address('../../examples/chat')).toBe(`${repository}/tree/main/examples/chat`);
    expect(address('live-curve.svg', 'docs/guarantees.md')).toBe(`${repository}/blob/main/docs/live-curve.svg`);
  });

  test.each(['connections.md', '../functions.md#context', '#top', '/start', 'https://example.org', 'mailto:a@b.c'])(
    'do not include %s',
    (href) => expect(address(href)).toBeNull(),
  );

  test('that do not exist are an error with the page and the link', () => {
    expect(() => address('../../ARCHITEKTUR.md')).toThrow(
      'docs/internals/glossary.md: the link ../../ARCHITEKTUR.md leads to ARCHITEKTUR.md, which does not exist.',
    );
    expect(() => address('../../../outside.md')).toThrow('does not exist');
  });
});

const outside = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md'];

test.each(outside)('links of %s, which is no page of the site, lead to files and headings', async (page) => {
  const dead = [];
  for (const [, link] of (await readFile(path.join(root, page), 'utf8')).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
    const [file, anchor] = link.split('#');
    const text = await readFile(path.join(root, file || page), 'utf8').catch((error) => {
      // A link to a folder is in order.
      if (error.code === 'EISDIR') return '';
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (text === null || (anchor !== undefined && !anchorsOf(text).includes(anchor))) dead.push(link);
  }
  expect(dead).toEqual([]);
});

/** The anchors that GitHub gives to the headings of a Markdown text. */
function anchorsOf(text) {
  return Array.from(text.matchAll(/^#+ (.+)$/gm), ([, heading]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

test('a page that is not in the sidebar is an error', () => {
  expect(() =>
    checkSidebar(['index.md', 'start.md', 'internals/mutations.md', 'reference/api/index.md']),
  ).not.toThrow();
  expect(() => checkSidebar(['start.md', 'internals/news.md'])).toThrow('sidebar.mjs: docs/internals/news.md');
});

describe('llms.txt', () => {
  test('lists the pages for users with their first sentence, and llms-full.txt has their text', async () => {
    await write({
      'docs/start.md': '# From nothing\n\nThe *quick* way:\n\n```sh\nnpx x\n```\n',
      'docs/reference/commands.md': '# Commands\n\n`a` lists [flags](x.md), and\nmore. And then some.\n\nEnd.\n',
      'docs/internals/feed.md': '# Feed\n\nInternal.\n\n',
    });
    await mkdir(path.join(folder, 'out'));
    await writeLlmsFiles({
      docs: path.join(folder, 'docs'),
      out: path.join(folder, 'out'),
      url: 'https://convoy.example',
      title: 'Convoy',
      description: 'A backend.',
      sidebar: [
        { text: 'Guide', items: [{ text: 'Start', link: '/start' }] },
        { text: 'Reference', items: [{ text: 'C', link: '/reference/commands' }] },
        { text: 'Inside', items: [{ text: 'Feed', link: '/internals/feed' }] },
      ],
    });
    const read = (name) => readFile(path.join(folder, 'out', name), 'utf8');
    const list = await read('llms.txt');
    expect(list).toMatch(/^# Convoy\n\n> A backend\.\n\n/);
    expect(list).toContain('## Guide\n\n- [From nothing](https://convoy.example/start.md): The *quick* way.\n');
    expect(list).toContain('[Commands](https://convoy.example/reference/commands.md): `a` lists flags, and more.\n');
    expect(list).not.toContain('Inside');
    expect(await read('llms-full.txt')).toContain('npx x');
    expect(await read('reference/commands.md')).toContain('And then some.');
  });

  test('needs a page to begin with a heading and a paragraph', () => {
    expect(() => summaryOf('# Page\n\n```sh\nx\n```\n\n', 'page.md')).toThrow('docs/page.md begins with no heading');
  });
});
