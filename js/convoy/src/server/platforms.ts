/** The platform of this process, and its name among the published engines. */

/** A platform that native code is built for. */
export interface Platform {
  readonly platform: string;
  readonly arch: string;
  /** On Linux, the C library that Node was built for. */
  readonly libc: 'gnu' | 'musl' | null;
}

/** The oldest glibc that the published engines run on. */
export const OLDEST_GLIBC = '2.28';

/** The platform this process runs on. */
export function currentPlatform(): Platform {
  return { platform: process.platform, arch: process.arch, libc: process.platform === 'linux' ? linuxLibc() : null };
}

/** `linux-x64-gnu`, `darwin-arm64`, `win32-x64-msvc`: the last part of the name of the platform's package. */
export function platformTag({ platform, arch, libc }: Platform): string {
  const abi = platform === 'win32' ? 'msvc' : libc;
  return abi === null ? `${platform}-${arch}` : `${platform}-${arch}-${abi}`;
}

function linuxLibc(): 'gnu' | 'musl' {
  return glibcVersion() === null ? 'musl' : 'gnu';
}

/** The version of the glibc that this process runs on; `null` where it runs on another C library. */
export function glibcVersion(): string | null {
  const { report } = process;
  if (report === undefined) return null;
  // Otherwise the report resolves the names of all peers, which can take seconds. Newer than Node's oldest types.
  const settings = report as { excludeNetwork?: boolean };
  const before = settings.excludeNetwork;
  settings.excludeNetwork = true;
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  settings.excludeNetwork = before ?? false;
  return header?.glibcVersionRuntime ?? null;
}
