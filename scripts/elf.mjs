// Reads from a 64-bit little-endian ELF file what it needs from the system: the
// libraries, and the versions of their symbols.
import { readFile } from 'node:fs/promises';

const MACHINES = { 62: 'x64', 183: 'arm64' };
const SECTION = { dynamic: 6, neededVersions: 0x6ffffffe };
const NEEDED_LIBRARY = 1n;

/**
 * @typedef {{ cpu: string, libraries: string[], versions: { library: string, name: string }[] }} Needs `name` is such as
 *   `GLIBC_2.28`
 * @param {string} path
 * @returns {Promise<Needs>}
 */
export async function needsOf(path) {
  const file = await readFile(path);
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw new Error(`${path} is not a 64-bit little-endian ELF file`);
  }
  const sections = sectionsOf(file);
  const needs = { cpu: MACHINES[file.readUInt16LE(18)] ?? 'unknown', libraries: [], versions: [] };
  for (const section of sections) {
    // The section with the strings of this one.
    const strings = sections[section.link];
    const text = (offset) => textAt(file, strings.offset + offset);
    if (section.type === SECTION.dynamic) {
      for (let at = section.offset; at < section.offset + section.size; at += 16) {
        if (file.readBigUInt64LE(at) === NEEDED_LIBRARY)
          needs.libraries.push(text(Number(file.readBigUInt64LE(at + 8))));
      }
    }
    if (section.type === SECTION.neededVersions) needs.versions.push(...versionsIn(file, section, text));
  }
  return needs;
}

/** The newest glibc that a file needs, such as `2.28`; `null` if it needs none. */
export function newestGlibc({ versions }) {
  const found = versions.flatMap(({ name }) => /^GLIBC_(\d+(?:\.\d+)*)$/.exec(name)?.[1] ?? []);
  return found.sort(compareVersions).at(-1) ?? null;
}

export function compareVersions(left, right) {
  const [a, b] = [left, right].map((version) => version.split('.').map(Number));
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    if ((a[at] ?? 0) !== (b[at] ?? 0)) return (a[at] ?? 0) - (b[at] ?? 0);
  }
  return 0;
}

function sectionsOf(file) {
  const [table, size, count] = [Number(file.readBigUInt64LE(40)), file.readUInt16LE(58), file.readUInt16LE(60)];
  return Array.from({ length: count }, (_, index) => {
    const at = table + index * size;
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      size: Number(file.readBigUInt64LE(at + 32)),
      link: file.readUInt32LE(at + 40),
    };
  });
}

/** A chain of libraries, each with a chain of versions. Offsets are relative to the entry that has them. */
function versionsIn(file, section, text) {
  const found = [];
  for (let at = section.offset, more = true; more; ) {
    const library = text(file.readUInt32LE(at + 4));
    let each = at + file.readUInt32LE(at + 8);
    for (let left = file.readUInt16LE(at + 2); left > 0; left -= 1) {
      found.push({ library, name: text(file.readUInt32LE(each + 8)) });
      each += file.readUInt32LE(each + 12);
    }
    const next = file.readUInt32LE(at + 12);
    more = next !== 0;
    at += next;
  }
  return found;
}

function textAt(file, offset) {
  return file.toString('latin1', offset, file.indexOf(0, offset));
}
