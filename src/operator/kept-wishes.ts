import { basename } from 'node:path';
import { asError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { KeptWishes, Wishes } from '../reconcilers/record-memory.ts';
import { createSidecars, sidecarFolder } from '../stores/local-sidecars.ts';

/**
 * What people have asked of records that are gone, in a hidden file beside the metadata of the snapshot folder: all operators
 * may end before the next record is made. Disposing waits until it is written; that it cannot be is logged.
 */
export async function openKeptWishes(
  snapshotDir: string,
  logger: Pick<Logger, 'warn'>,
): Promise<KeptWishes & AsyncDisposable> {
  const name = `.etcd-snapshot-wishes-${basename(snapshotDir)}`;
  const files = createSidecars(sidecarFolder(snapshotDir), name);
  let wanted: ReadonlyMap<string, Wishes> | undefined;
  let writing: Promise<void> | undefined;
  const attempt = async (work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (error) {
      const reason = `${asError(error).message}: a hold of a record that is gone is forgotten when all operators end`;
      logger.warn({ reason }, 'What people have asked of records cannot be kept');
    }
  };
  const write = async () => {
    for (let now = wanted; now !== undefined; now = wanted) {
      wanted = undefined;
      const metadata = Object.fromEntries([...now].map(([key, wishes]) => [key, JSON.stringify(wishes)]));
      await attempt(() => (now.size === 0 ? files.remove(name) : files.write(name, { metadata })));
    }
    writing = undefined;
  };
  await attempt(() => files.sweep());
  return {
    known: parse((await files.read(name)) ?? {}),
    keep(all) {
      wanted = new Map(all);
      writing ??= write();
    },
    async [Symbol.asyncDispose]() {
      await writing;
    },
  };
}

/** What is damaged is left out: it was written by nobody of ours. */
function parse(texts: Readonly<Record<string, string>>): ReadonlyMap<string, Wishes> {
  const known = new Map<string, Wishes>();
  for (const [key, text] of Object.entries(texts)) {
    const wishes = parseOne(text);
    if (wishes !== undefined) known.set(key, wishes);
  }
  return known;
}

function parseOne(text: string): Wishes | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const entries = Object.entries(value);
    return entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')
      ? Object.fromEntries(entries)
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
