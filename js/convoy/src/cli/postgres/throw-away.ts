/** A Postgres for tests: in a temporary folder, without fsync, deleted when it stops or when this process is killed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, startIn } from './embedded.js';

export interface ThrowAwayPostgresOptions extends Omit<EmbeddedPostgresOptions, 'dataRoot' | 'durable'> {
  /** The folder as seen from which the package with the binaries is found; by default, only that of Convoy is. */
  readonly installedIn?: string;
}

/** Starts an empty Postgres without fsync. */
export async function startThrowAwayPostgres(options: ThrowAwayPostgresOptions = {}): Promise<EmbeddedPostgres> {
  const folder = await mkdtemp(path.join(tmpdir(), 'convoy-postgres-'));
  try {
    return await startIn({ ...options, dataRoot: folder, durable: false }, 'deleted');
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}
