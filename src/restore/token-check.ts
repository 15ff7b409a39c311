import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { tokenHash, tokenPassword } from '../config/token.ts';
import { asError, isSnapshotError, SnapshotError, systemCode } from '../errors.ts';
import { type BootstrapFile, decryptBootstrap } from './bootstrap.ts';
import type { DatabaseFacts } from './database.ts';
import type { Obstacle } from './order.ts';

/** Of the empty password, under which old servers kept their data. */
const LEGACY = 'e3b0c44298fc';

/**
 * Certificates and secrets in the database, by the token of the order. They were decrypted before, in the look that precedes
 * every restore. @throws SnapshotError
 */
export async function decryptedBy(
  order: RestoreOrder,
  database: DatabaseFacts,
): Promise<readonly BootstrapFile[]> {
  const { files, obstacles } = await checkToken(order, database);
  const [first] = obstacles;
  if (first === undefined) return files;
  throw new SnapshotError('conflict', 'The certificates cannot be taken from the database', {
    why: first.what,
    hint: `${first.cure}.`,
  });
}

/** What the metadata of a snapshot tell of its token, before it is here. @throws system errors */
export async function metadataObstacle(
  order: RestoreOrder,
  recorded: string | undefined,
): Promise<Obstacle[]> {
  const token = await tokenOf(order);
  if (token === undefined || recorded === undefined) return [];
  const hash = tokenHash(token);
  if (hash === recorded) return [];
  return [
    {
      what: `the token is another one than that of the snapshot: its hash is ${hash}, and the snapshot was taken with ${recorded}`,
      cure: 'give the token that the cluster had when the snapshot was taken, with --token',
    },
  ];
}

async function tokenOf({ serverDir, token }: RestoreOrder): Promise<string | undefined> {
  if (serverDir === undefined) return undefined;
  return token?.reveal() ?? (await readFile(join(serverDir, 'token'), 'utf8').catch(absent));
}

export interface TokenCheck {
  readonly obstacles: readonly Obstacle[];
  readonly notes: readonly string[];
  /** Certificates and secrets that the database holds; empty when they cannot be read. */
  readonly files: readonly BootstrapFile[];
}

/** Whether the token is the one that the snapshot's certificates are encrypted with. @throws system errors */
export async function checkToken(order: RestoreOrder, database: DatabaseFacts): Promise<TokenCheck> {
  const { serverDir } = order;
  if (serverDir === undefined) return { obstacles: [], notes: [], files: [] };
  const none = (what: string, cure: string): TokenCheck => ({
    obstacles: [{ what, cure }],
    notes: [],
    files: [],
  });
  const file = join(serverDir, 'token');
  const token = await tokenOf(order);
  if (token === undefined) {
    return none(
      `${file} does not exist, and no token is given`,
      'give the token of the cluster with --token',
    );
  }
  try {
    const hash = tokenHash(token);
    const { bootstrap } = database;
    const key = bootstrap.has(hash) ? hash : bootstrap.has(LEGACY) ? LEGACY : undefined;
    if (key === undefined) {
      const others = [...bootstrap.keys()].join(', ');
      return bootstrap.size === 0
        ? none(
            'there are no bootstrap data in the snapshot',
            'take a snapshot of a K3s or RKE2 cluster, or --distribution=custom',
          )
        : none(
            `the token is another cluster's or an older one: its hash is ${hash}, and the snapshot is encrypted with ${others}`,
            'give the token that the cluster had when the snapshot was taken, with --token',
          );
    }
    const value = bootstrap.get(key) ?? '';
    if (value === '') {
      return none(
        'the bootstrap data in the snapshot are empty: it was taken while the first server was still being set up',
        'take a later snapshot',
      );
    }
    const files = decryptBootstrap(value, key === LEGACY ? '' : tokenPassword(token));
    return { obstacles: [], notes: caNote(token, files), files };
  } catch (error) {
    if (!isSnapshotError(error)) throw error;
    return none(`${error.message}: ${error.why ?? ''}`, lowered(error.hint ?? 'check the token'));
  }
}

/** The long form of a token names the CA of its cluster, by the hash of the CA's file. */
function caNote(token: string, files: readonly BootstrapFile[]): string[] {
  const [, named] = /^K10([0-9a-f]{64})::/i.exec(token.trim()) ?? [];
  const ca = files.find(({ path }) => path === 'tls/server-ca.crt')?.content;
  // With several certificates in the file K3s hashes the root alone; that is not looked into.
  if (named === undefined || ca === undefined || ca.toString().split('BEGIN CERTIFICATE').length !== 2)
    return [];
  const hash = createHash('sha256').update(ca).digest('hex');
  if (hash === named.toLowerCase()) return [];
  return [
    `the token names another CA (${named.slice(0, 12)}…) than the snapshot holds (${hash.slice(0, 12)}…); its password fits, and agents with that token must get a new one`,
  ];
}

function lowered(hint: string): string {
  return `${hint.slice(0, 1).toLowerCase()}${hint.slice(1)}`.replace(/\.$/, '');
}

function absent(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw asError(error);
}
