// Writes llms.txt (https://llmstxt.org), llms-full.txt and the Markdown of each page into the built site. Internals and
// the generated API reference are left out: agents read types from the package.
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The pages of the sidebar that are for users, with the titles of their sections. */
const isForUsers = (link) => !/^https:|^\/(internals|reference\/api)\//.test(link);

/**
 * @param {{ docs: string, out: string, url: string, title: string, description: string, sidebar: object[] }} site
 *   `docs` has the pages, `out` the built site; `url` is its address, without a slash at the end
 */
export async function writeLlmsFiles({ docs, out, url, title, description, sidebar }) {
  const sections = [];
  const texts = [];
  for (const { text: section, items } of sidebar) {
    const lines = [];
    for (const { link } of items.filter(({ link }) => isForUsers(link))) {
      const file = `${link.slice(1)}${link.endsWith('/') ? 'index' : ''}.md`;
      const markdown = await readFile(join(docs, file), 'utf8');
      const { heading, summary } = summaryOf(markdown, file);
      lines.push(`- [${heading}](${url}/${file}): ${summary}`);
      texts.push(`<!-- ${url}/${file} -->\n\n${markdown.trim()}\n`);
      await mkdir(dirname(join(out, file)), { recursive: true });
      await copyFile(join(docs, file), join(out, file));
    }
    if (lines.length > 0) sections.push(`## ${section}\n\n${lines.join('\n')}\n`);
  }
  const head = `# ${title}\n\n> ${description}\n`;
  const hint =
    'The package `@avvos/convoy` contains skills for coding agents in `node_modules/@avvos/convoy/skills`.\n';
  await writeFile(join(out, 'llms.txt'), [head, hint, ...sections].join('\n'));
  await writeFile(join(out, 'llms-full.txt'), [head, ...texts].join('\n'));
}

/** The heading of a page, and the first sentence below it. */
export function summaryOf(markdown, file) {
  const [, heading, paragraph] = /^# (.+)\n\n(?!```|[#|-])(\S[\s\S]*?)\n\n/.exec(markdown) ?? [];
  if (heading === undefined) throw new Error(`docs/${file} begins with no heading and paragraph.`);
  const plain = paragraph.replaceAll('\n', ' ').replaceAll(/\[([^\]]+)\]\([^)]*\)/g, '$1');
  return { heading, summary: /^.*?[.:](?= |$)/.exec(plain)?.[0].replace(/:$/, '.') ?? plain };
}
