import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { access, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { asError, isSnapshotError } from '../errors.ts';
import { alarmNotes } from './alarms.ts';
import type { BootstrapFile } from './bootstrap.ts';
import { type DatabaseFacts, readDatabase } from './database.ts';
import { versionObstacles } from './etcdutl-check.ts';
import { existingFolder, exists, realFolder } from './files.ts';
import { type Journal, type Places, type Purpose, steps } from './journal.ts';
import { canDoWithout, readMadeData } from './made-data.ts';
import { assertJoins, startsEtcd } from './manifests.ts';
import { oldPeersThatAnswer } from './old-peers.ts';
import type { Obstacle } from './order.ts';
import { memberOf } from './own-member.ts';
import { isMounted, ownerOf, placesFor, type Space, spaceFor } from './places.ts';
import type { EtcdTools } from './ports.ts';
import { rejoinObstacles } from './rejoin.ts';
import { readOwnData, resetObstacles } from './reset.ts';
import { revisionsToAdd } from './revisions.ts';
import { mayGoOn, type RunningProof, readBeforeProof } from './running-proof.ts';
import { assertSpace, findSnapshotFile, proveSnapshotFile, type SnapshotFile } from './snapshot-file.ts';
import { checkToken } from './token-check.ts';
import { unpackedPath, unpackInto } from './unpack.ts';
import { LOG_BYTES } from './verify-snapshot.ts';
import { whereTheLogIs } from './wal.ts';
import { type ActiveServices, strangersOn, whatRuns } from './what-runs.ts';

/** Of a member whose data stay its own. */
const NOBODY = { member: 'reset', peerUrl: 'http://localhost:2380' };

/** What was found before anything is touched. */
export interface Preflight {
  readonly obstacles: readonly Obstacle[];
  /** Worth knowing; nothing stands in the way. */
  readonly notes: readonly string[];
  readonly snapshot: SnapshotFacts | undefined;
  /** What is to be done; undefined while obstacles keep it from being known. */
  readonly journal: Journal | undefined;
  /** Where a zip was unpacked for the look; nothing else is there yet. */
  readonly workDir: string;
  readonly files: readonly BootstrapFile[];
  readonly space: Space;
}

export interface SnapshotFacts {
  readonly file: SnapshotFile;
  readonly sha256: string;
  readonly database: DatabaseFacts;
  /** Of the hash; undefined when that was proven first. It has not begun where nobody is asked; else it has ended. */
  readonly proof?: RunningProof;
}

export interface Wanted {
  readonly purpose: Purpose;
  readonly snapshot: string | undefined;
  /** A restore that was cut off, whose folders are used again. */
  readonly resuming: Journal | undefined;
}

interface Parts {
  readonly tools: EtcdTools;
  readonly active: ActiveServices;
  readonly now: Date;
}

/**
 * Looks at everything that could stop a restore, and goes on looking when it finds something.
 * @throws SnapshotError `aborted`; what was unpacked for the look is gone then
 */
export async function preflight(
  order: RestoreOrder,
  wanted: Wanted,
  parts: Parts,
  signal: AbortSignal,
): Promise<Preflight> {
  const { resuming } = wanted;
  const places = resuming?.places ?? (await placesFor(order, parts.now));
  try {
    return await lookAround(order, wanted, places, parts, signal);
  } catch (error) {
    if (resuming === undefined) await rm(places.workDir, { recursive: true, force: true });
    throw error;
  }
}

/** Whether what runs etcd is moved away by the restore itself, which then waits for its end. */
export async function stopsByItself({ places, step }: Pick<Journal, 'places' | 'step'>): Promise<boolean> {
  const { manifests } = places;
  if (manifests === undefined) return false;
  const left = step === undefined || steps.indexOf(step) <= steps.indexOf('stop');
  return left || startsEtcd(manifests.dir);
}

async function lookAround(
  order: RestoreOrder,
  wanted: Wanted,
  places: Places,
  parts: Parts,
  signal: AbortSignal,
): Promise<Preflight> {
  const obstacles: Obstacle[] = [];
  const notes: string[] = [];
  const collect = async <T>(look: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await look();
    } catch (error) {
      if (signal.aborted) throw error;
      obstacles.push(obstacleOf(error));
      return undefined;
    }
  };
  const { resuming } = wanted;
  if (!(await stopsByItself({ places, step: resuming?.step }))) {
    obstacles.push(...(await whatRuns(order, parts.active)));
  }
  notes.push(...(await strangersOn(order)));
  obstacles.push(...(await whatFolderForbids(order)));
  await collect(async () => {
    const log = await whereTheLogIs(order);
    obstacles.push(...log.obstacles);
    notes.push(...log.notes);
  });
  if (wanted.purpose === 'rejoin') {
    obstacles.push(...rejoinObstacles(order, places));
    await collect(() => assertJoins(places));
  }
  const restoring = wanted.purpose !== 'rejoin';
  const resetting = wanted.purpose === 'reset';
  const snapshot = await collect<SnapshotFacts | undefined>(async () => {
    if (resetting) return readOwnData(order, signal);
    if (wanted.snapshot === undefined) return undefined;
    if (resuming === undefined || !(await canDoWithout(resuming, wanted.snapshot)))
      return readSnapshot(wanted.snapshot, places.workDir, signal);
    notes.push(`${wanted.snapshot} is gone; what was made of it was proven before, and is put in place`);
    const { oldDir, dataDir } = places;
    const was = (await oldDatabase(oldDir, [], signal)) ?? (await oldDatabase(dataDir, [], signal));
    return readMadeData(resuming, was, signal);
  });
  await collect(async () => {
    if (resetting) obstacles.push(...resetObstacles(snapshot, await parts.tools.etcdVersion(signal)));
    else if (restoring)
      await versionObstacles(order, snapshot?.database, parts.tools, { obstacles, notes }, signal);
  });
  const old = await oldDatabase(order.dataDir, notes, signal);
  if (snapshot !== undefined) {
    obstacles.push(...clusterObstacle(order, snapshot.database, old));
    notes.push(...alarmNotes(snapshot.database));
  }
  if (restoring && order.serverUrl !== undefined) {
    obstacles.push({
      what: `this server is set to join ${order.serverUrl}`,
      cure: 'remove "server" from the configuration (or K3S_URL, --server) of the server that is restored',
    });
  }
  const token =
    snapshot === undefined ? undefined : await collect(() => checkToken(order, snapshot.database));
  obstacles.push(...(token?.obstacles ?? []));
  notes.push(...(token?.notes ?? []));
  const space = await spaceFor(places, snapshot?.file);
  const extracted = resuming?.step !== undefined && !['unpack', 'extract'].includes(resuming.step);
  if (restoring && !extracted && space.free < space.needed) {
    obstacles.push({
      what: `${space.needed} bytes are needed beside ${order.dataDir}, and ${space.free} are free`,
      cure: 'free some space on that disk; the old data are kept, and may be moved to another disk by hand',
    });
  }
  const restored = restoring && !resetting;
  const self = resuming ?? (restored ? memberOf(order, snapshot?.database, obstacles) : NOBODY);
  if (restoring && snapshot !== undefined) {
    const peers = await oldPeersThatAnswer(order, snapshot.database, self, parts.tools, signal);
    obstacles.push(...peers.obstacles);
    notes.push(...peers.notes);
  }
  const journal: Journal | undefined =
    self === undefined || (restoring && snapshot === undefined)
      ? undefined
      : {
          version: 1,
          purpose: wanted.purpose,
          began: Number(/\d+$/.exec(places.workDir)?.[0]),
          places,
          snapshot: snapshot === undefined ? undefined : rememberedOf(snapshot),
          member: self.member,
          peerUrl: self.peerUrl,
          clusterToken: `etcd-restore-${randomUUID()}`,
          bumpRevision: restored ? revisionsToAdd(order, snapshot?.database, old, notes) : 0,
          bumpWanted: restored ? order.bumpRevision : 0,
          owner: await ownerOf(order.dataDir),
          hadData: await exists(order.dataDir),
          step: undefined,
        };
  if (obstacles.length > 0 || !mayGoOn(order, resuming)) await collect(async () => snapshot?.proof?.whole());
  return { obstacles, notes, snapshot, journal, workDir: places.workDir, files: token?.files ?? [], space };
}

function rememberedOf({ file, sha256, database }: SnapshotFacts): Journal['snapshot'] {
  const { path, compressed, plainSize } = file;
  return { path, sha256, compressed, plainSize, revision: database.revision, records: database.records };
}

/** A zip is unpacked into the work folder, because a database cannot be read inside of one. */
async function readSnapshot(path: string, workDir: string, signal: AbortSignal): Promise<SnapshotFacts> {
  const file = await findSnapshotFile(path);
  if (file.compressed) {
    const known = (await exists(workDir)) ? await proveSnapshotFile(file, undefined, signal) : undefined;
    if (known !== undefined && (await exists(unpackedPath(workDir, known)))) {
      return { file, sha256: known, database: await readDatabase(unpackedPath(workDir, known), signal) };
    }
    const cure = 'Free some space on that disk: the new data come to be there.';
    await assertSpace(dirname(workDir), file.plainSize * 2 + LOG_BYTES, 'the restore', cure);
    const sha256 = await unpackInto(file, workDir, signal);
    return { file, sha256, database: await readDatabase(unpackedPath(workDir, sha256), signal) };
  }
  return readBeforeProof(file, signal);
}

async function whatFolderForbids({ dataDir, serverDir }: RestoreOrder): Promise<Obstacle[]> {
  const cure = 'run as root, and see that the file system is mounted writable';
  const stats = (await exists(dataDir)) ? await stat(dataDir) : undefined;
  if (stats !== undefined && !stats.isDirectory()) {
    return [{ what: `${dataDir} is a file`, cure: 'name the data folder of etcd with --data-dir' }];
  }
  const folder = await existingFolder((await isMounted(dataDir)) ? dataDir : dirname(dataDir));
  // Who follows the page of K3s has removed `server/db`; without `server` it is no server's folder at all.
  const server = serverDir === undefined ? undefined : await realFolder(serverDir);
  if (![dirname(dataDir), dataDir, server].includes(folder)) {
    return [{ what: `${dirname(dataDir)} does not exist`, cure: 'make it, or correct --data-dir' }];
  }
  const writable = await access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
  return writable ? [] : [{ what: `${folder} cannot be written to`, cure }];
}

/** What lies in the data folder now, when it can be read. */
async function oldDatabase(
  dataDir: string,
  notes: string[],
  signal: AbortSignal,
): Promise<DatabaseFacts | undefined> {
  const path = join(dataDir, 'member/snap/db');
  if (!(await exists(path))) return undefined;
  try {
    return await readDatabase(path, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    notes.push(
      `the data that are there cannot be read (${obstacleOf(error).what}); they are kept all the same`,
    );
    return undefined;
  }
}

function clusterObstacle(
  order: RestoreOrder,
  found: DatabaseFacts,
  old: DatabaseFacts | undefined,
): Obstacle[] {
  if (order.allowOtherCluster || old?.clusterId === undefined || found.clusterId === undefined) return [];
  if (old.clusterId === found.clusterId) return [];
  return [
    {
      what: `the snapshot is of cluster ${found.clusterId}, and this node belongs to ${old.clusterId}`,
      cure: 'choose a snapshot of this cluster, or say that you mean it with --allow-other-cluster',
    },
  ];
}

export function obstacleOf(error: unknown): Obstacle {
  if (!isSnapshotError(error)) return { what: asError(error).message, cure: 'see the kernel log (dmesg)' };
  const why = error.why === undefined ? '' : `: ${error.why}`;
  const hint = error.hint ?? 'try again';
  return {
    what: `${error.message}${why}`,
    cure: `${hint.slice(0, 1).toLowerCase()}${hint.slice(1)}`.replace(/\.$/, ''),
  };
}
