import { readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../errors.ts';
import type { SnapshotFacts } from '../snapshot/snapshot.ts';
import { isTemporaryOf, writeAtomically } from './atomic-write.ts';

/** Where the metadata files of a snapshot folder are: beside it, as k3s has them. */
export function sidecarFolder(snapshotDir: string): string {
  return join(dirname(snapshotDir), '.metadata');
}

/** The metadata files of a snapshot folder: one JSON object of strings per snapshot, named like it. */
export interface Sidecars {
  /** Writes nothing when there is no metadata: k3s has no file then either. @throws system errors */
  write(name: string, facts: SnapshotFacts): Promise<void>;
  /** Undefined when there is none, or none that is an object of strings: the snapshot is good without it. */
  read(name: string): Promise<Readonly<Record<string, string>> | undefined>;
  /** Of all snapshots that have one, and perhaps of others; for those who read many. None when they cannot be read, as in `read`. */
  names(): Promise<ReadonlySet<string>>;
  /** Idempotent. @throws system errors */
  remove(name: string): Promise<void>;
  /** Removes the half-written files of this owner. Returns their names. @throws system errors */
  sweep(): Promise<string[]>;
}

/** @param owner whose half-written files `sweep` may remove: the holder of one snapshot folder, although siblings share `dir` */
export function createSidecars(dir: string, owner: string): Sidecars {
  const filesIn = () =>
    readdir(dir).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    });
  return {
    async write(name, { metadata }) {
      if (metadata === undefined || Object.keys(metadata).length === 0) return;
      await writeAtomically(join(dir, name), owner, JSON.stringify(metadata));
    },
    async read(name) {
      try {
        const value: unknown = JSON.parse(await readFile(join(dir, name), 'utf8'));
        return isRecordOfStrings(value) ? value : undefined;
      } catch (error) {
        if (error instanceof SyntaxError || systemCode(error) !== undefined) return undefined;
        throw error;
      }
    },
    names: async () =>
      new Set(
        await filesIn().catch((error: unknown) => {
          if (systemCode(error) === undefined) throw error;
          return [];
        }),
      ),
    remove: (name) => rm(join(dir, name), { force: true }),
    async sweep() {
      const left = (await filesIn()).filter((name) => isTemporaryOf(owner, name));
      for (const name of left) await rm(join(dir, name), { force: true });
      return left;
    },
  };
}

function isRecordOfStrings(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((entry) => typeof entry === 'string')
  );
}
