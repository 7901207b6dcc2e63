/**
 * The versions of Node that Convoy runs on. The command line imports this file before all others, so it uses only what
 * old versions of Node have.
 */

/** The oldest version: major and minor. */
export const OLDEST_NODE: readonly [number, number] = [20, 19];
export const RECOMMENDED_NODE = 22;

/** Whether a version, such as `22.1.0`, can run Convoy. */
export function isSupportedNode(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
}

/** The message about a version that is too old; null for others. */
export function oldNodeMessage(version: string = process.versions.node): string | null {
  if (isSupportedNode(version)) return null;
  return (
    `Convoy needs Node ${OLDEST_NODE.join('.')} or later, and this is Node ${version} (${process.execPath}). ` +
    `Install Node ${RECOMMENDED_NODE} or later from https://nodejs.org, or with a version manager: ` +
    `nvm install ${RECOMMENDED_NODE}, fnm use --install-if-missing ${RECOMMENDED_NODE}, or volta install node@${RECOMMENDED_NODE}.`
  );
}
