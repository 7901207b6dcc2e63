// The software bill of materials of each published package, in CycloneDX 1.6: the crates
// that are compiled into an addon, and the npm packages that a library needs at run time.
//
// From the lockfiles, because `npm sbom` fails for a root without a version, and leaves out
// runtime dependencies that a development dependency needs, too. Without a time or a random
// number: the same sources make the same bill.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from './run.mjs';

/** The name of the file in each package. */
export const billFile = 'sbom.cdx.json';

/**
 * @typedef {{ name: string, version: string, license?: string, purl: string, hash?: { alg: string, content: string }, needs: string[] }} Part
 *   `needs` are the purls of its dependencies
 */

/**
 * The bill of an addon: all crates of its target but those that only build it.
 *
 * @param {{ name: string, version: string, license: string }} manifest of its package
 * @param {string} target
 */
export async function billOfAddon(manifest, target) {
  const options = ['metadata', '--locked', '--format-version', '1', '--filter-platform', target];
  const { stdout } = await promisify(execFile)('cargo', options, { cwd: root, maxBuffer: 2 ** 28 });
  const { packages, resolve } = JSON.parse(stdout);
  const checksums = checksumsIn(await readFile(join(root, 'Cargo.lock'), 'utf8'));
  const crates = new Map(packages.map((each) => [each.id, each]));
  const nodes = new Map(resolve.nodes.map((each) => [each.id, each]));
  const purlOf = (id) => `pkg:cargo/${crates.get(id).name}@${crates.get(id).version}`;
  const neededBy = (id) =>
    nodes
      .get(id)
      .deps.filter(({ dep_kinds: kinds }) => kinds.some(({ kind }) => kind === null))
      .map(({ pkg }) => pkg);
  const start = packages.find(({ name }) => name === 'convoy-node').id;
  const parts = [...reachable([start], neededBy)].map((id) => {
    const { name, version, license } = crates.get(id);
    const checksum = checksums.get(`${name}@${version}`);
    const hash = checksum === undefined ? undefined : { alg: 'SHA-256', content: checksum };
    return { name, version, license, purl: purlOf(id), hash, needs: neededBy(id).map(purlOf) };
  });
  return billOf(manifest, [purlOf(start)], parts);
}

/**
 * The bill of a library: its runtime dependencies, optional ones included, and theirs; not its peers, which its user
 * chooses.
 *
 * @param {Record<string, any>} manifest as published
 * @param {string} folder in the repository, as in the lockfile
 * @param {string[]} copied names of packages whose files it contains
 */
export async function billOfLibrary(manifest, folder, copied = []) {
  const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8'));
  const found = (from, name) => {
    for (let at = from; ; at = at.replace(/(^|\/)(node_modules\/)?(@[^/]+\/)?[^/]+$/, '')) {
      const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`;
      if (packages[path] !== undefined) return path;
      if (at === '') return undefined;
    }
  };
  // Packages that are published together with this one are not in the lockfile.
  const own = (name) => ({
    name,
    version: manifest.version,
    license: manifest.license,
    purl: purl(name, manifest.version),
    needs: [],
  });
  const namesIn = ({ dependencies = {}, optionalDependencies = {} }) =>
    Object.keys({ ...dependencies, ...optionalDependencies });
  const first = [...namesIn(manifest), ...copied];
  const paths = first.map((name) => found(folder, name)).filter((path) => path !== undefined);
  const neededBy = (path) =>
    namesIn(packages[path])
      .map((name) => found(path, name))
      .filter((each) => each !== undefined);
  const nameOf = (path) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  const purlOf = (path) => purl(nameOf(path), packages[path].version);
  // Of a copied package only the files in the package count, not the binaries that it would install.
  const isCopied = (path) => copied.includes(nameOf(path));
  const needsOf = (path) => (isCopied(path) ? [] : neededBy(path));
  const parts = [...reachable(paths, needsOf)].map((path) => {
    const { version, license, integrity } = packages[path];
    return {
      name: nameOf(path),
      version,
      license,
      purl: purlOf(path),
      hash: hashOf(integrity),
      needs: needsOf(path).map(purlOf),
    };
  });
  const siblings = first.filter((name) => found(folder, name) === undefined).map(own);
  return billOf(manifest, [...paths.map(purlOf), ...siblings.map((each) => each.purl)], [...parts, ...siblings]);
}

/** The text of a bill. */
function billOf(manifest, needs, parts) {
  const product = { ...manifest, purl: purl(manifest.name, manifest.version) };
  const byPurl = [...parts].sort((one, other) => (one.purl < other.purl ? -1 : 1));
  const bill = {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: component(product) },
    components: byPurl.map(component),
    dependencies: [{ ...product, needs }, ...byPurl].map(({ purl: ref, needs: dependsOn }) => ({
      ref,
      dependsOn: [...new Set(dependsOn)].sort(),
    })),
  };
  return `${JSON.stringify(bill, null, 1)}\n`;
}

/** @param {Part} part */
function component({ name, version, license, purl: ref, hash }) {
  const [, group, bare] = /^(?:(@[^/]+)\/)?(.*)$/.exec(name);
  return {
    type: 'library',
    'bom-ref': ref,
    ...(group === undefined ? {} : { group }),
    name: bare,
    version,
    // Old manifests separate licences by a slash.
    ...(license ? { licenses: [{ expression: license.replaceAll(/\s*\/\s*/g, ' OR ') }] } : {}),
    ...(hash === undefined ? {} : { hashes: [hash] }),
    purl: ref,
  };
}

const purl = (name, version) => `pkg:npm/${name.replace('@', '%40')}@${version}`;

function hashOf(integrity) {
  const sha = /^sha512-(\S+)/.exec(integrity ?? '')?.[1];
  return sha === undefined ? undefined : { alg: 'SHA-512', content: Buffer.from(sha, 'base64').toString('hex') };
}

function checksumsIn(lockfile) {
  const entries = lockfile.matchAll(/name = "(.*)"\nversion = "(.*)"\nsource = ".*"\nchecksum = "(.*)"/g);
  return new Map([...entries].map(([, name, version, checksum]) => [`${name}@${version}`, checksum]));
}

function reachable(start, next) {
  const seen = new Set(start);
  for (const each of seen) for (const other of next(each)) seen.add(other);
  return seen;
}
