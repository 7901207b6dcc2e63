/** Package managers: which one runs this program, and what the user types with each. */

export const PACKAGE_MANAGERS = ['npm', 'pnpm', 'yarn', 'bun'] as const;

export type PackageManager = (typeof PACKAGE_MANAGERS)[number];

/** The one that runs this program, by the variable that all of them set: `pnpm/12.0.1 npm/? node/v24.0.0 linux x64`. */
export function detectPackageManager(env: Readonly<Record<string, string | undefined>>): PackageManager {
  const name = env.npm_config_user_agent?.split('/')[0];
  return PACKAGE_MANAGERS.find((each) => each === name) ?? 'npm';
}

/** The command that runs a script. */
export function scriptCommand(manager: PackageManager, script: string): string {
  return manager === 'npm' || manager === 'bun' ? `${manager} run ${script}` : `${manager} ${script}`;
}

export function installCommand(manager: PackageManager): string {
  return `${manager} install`;
}
