import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { asError, isSnapshotError } from '../errors.ts';
import type { BootstrapFile } from './bootstrap.ts';
import { type DatabaseFacts, readDatabase } from './database.ts';
import { existingFolder, exists } from './files.ts';
import type { Journal, Purpose } from './journal.ts';
import { stopsByItself } from './manifests.ts';
import { type Obstacle, serviceOf } from './order.ts';
import { isMounted, ownerOf, placesFor, type Space, spaceFor } from './places.ts';
import type { EtcdTools } from './ports.ts';
import { readOwnData, resetObstacles } from './reset.ts';
import { listens, usersOf } from './running.ts';
import { mayGoOn, type RunningProof, readBeforeProof } from './running-proof.ts';
import { assertSpace, findSnapshotFile, proveSnapshotFile, type SnapshotFile } from './snapshot-file.ts';
import { checkToken } from './token-check.ts';
import { unpackedPath, unpackInto } from './unpack.ts';
import { LOG_BYTES } from './verify-snapshot.ts';
import { isNewer, writtenBy } from './versions.ts';

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

/**
 * Looks at everything that could stop a restore, and goes on looking when it finds something.
 * @throws SnapshotError `aborted`, and what is wrong with a journal that is there
 */
export async function preflight(
  order: RestoreOrder,
  wanted: {
    readonly purpose: Purpose;
    readonly snapshot: string | undefined;
    /** A restore that was cut off, whose folders are used again. */
    readonly resuming: Journal | undefined;
  },
  parts: { readonly tools: EtcdTools; readonly now: Date },
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
  if (!(await stopsByItself(order))) obstacles.push(...(await whatRuns(order)));
  obstacles.push(...(await whatFolderForbids(order)));
  const restoring = wanted.purpose !== 'rejoin';
  const resetting = wanted.purpose === 'reset';
  const { resuming } = wanted;
  const places = resuming?.places ?? (await placesFor(order, parts.now));
  const snapshot = await collect<SnapshotFacts | undefined>(async () => {
    if (resetting) return readOwnData(order, signal);
    return wanted.snapshot === undefined ? undefined : readSnapshot(wanted.snapshot, places.workDir, signal);
  });
  await collect(async () => {
    if (resetting) obstacles.push(...resetObstacles(snapshot, await parts.tools.etcdVersion(signal)));
    else if (restoring) versionObstacles(snapshot, await parts.tools.version(signal), obstacles, notes);
  });
  const old = await oldDatabase(order.dataDir, notes, signal);
  if (snapshot !== undefined) obstacles.push(...clusterObstacle(order, snapshot.database, old));
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
          bumpRevision: restored ? order.bumpRevision : 0,
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
    const cure = 'Free some space on that disk: the new data come to be there.';
    await assertSpace(dirname(workDir), file.plainSize * 2 + LOG_BYTES, 'the restore', cure);
    const known = (await exists(workDir)) ? await proveSnapshotFile(file, undefined, signal) : undefined;
    const there = known !== undefined && (await exists(unpackedPath(workDir, known)));
    const sha256 = there ? known : await unpackInto(file, workDir, signal);
    return { file, sha256, database: await readDatabase(unpackedPath(workDir, sha256), signal) };
  }
  return readBeforeProof(file, signal);
}

/** Programs that must end before data are moved. */
export async function whatRuns(order: RestoreOrder): Promise<Obstacle[]> {
  const users = await usersOf(order.dataDir);
  const [service, stop] = [serviceOf(order), stopCommand(order)];
  const open = users.map(({ pid, program, file }) => ({
    what: `${program} (pid ${pid}) is running and has ${file} open`,
    cure: stop,
  }));
  if (open.length > 0) return open;
  const answers = await Promise.all(
    order.addresses.map(async (address) => ((await listens(address)) ? address : '')),
  );
  return answers
    .filter((address) => address !== '')
    .map((address) => ({
      what: `somebody listens on ${address}: ${service}, its API server or its etcd is still running`,
      cure: stop,
    }));
}

function stopCommand(order: RestoreOrder): string {
  if (order.distribution === 'kubeadm') {
    return 'move the manifests out of /etc/kubernetes/manifests, and wait until etcd and the API server have ended';
  }
  return `stop it: systemctl stop ${serviceOf(order)}`;
}

async function whatFolderForbids({ dataDir }: RestoreOrder): Promise<Obstacle[]> {
  const cure = 'run as root, and see that the file system is mounted writable';
  const stats = (await exists(dataDir)) ? await stat(dataDir) : undefined;
  if (stats !== undefined && !stats.isDirectory()) {
    return [{ what: `${dataDir} is a file`, cure: 'name the data folder of etcd with --data-dir' }];
  }
  const folder = await existingFolder((await isMounted(dataDir)) ? dataDir : dirname(dataDir));
  if (folder !== dirname(dataDir) && folder !== dataDir) {
    return [{ what: `${dirname(dataDir)} does not exist`, cure: 'make it, or correct --data-dir' }];
  }
  const writable = await access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
  return writable ? [] : [{ what: `${folder} cannot be written to`, cure }];
}

function versionObstacles(
  snapshot: SnapshotFacts | undefined,
  etcdutl: string,
  obstacles: Obstacle[],
  notes: string[],
): void {
  if (snapshot === undefined) return;
  const written = writtenBy(snapshot.database);
  if (written === undefined) {
    notes.push('the snapshot does not say which etcd wrote it: it is older than etcd 3.5');
  } else if (isNewer(written, etcdutl)) {
    obstacles.push({
      what: `the snapshot is of etcd ${written}, and etcdutl is ${etcdutl}`,
      cure: 'name a folder with etcdutl of that version or newer with --etcd-tools',
    });
  }
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

/** The one member that will be: K3s gives a new name each time, others keep theirs. */
function memberOf(
  order: RestoreOrder,
  database: DatabaseFacts | undefined,
  obstacles: Obstacle[],
): { readonly member: string; readonly peerUrl: string } | undefined {
  const known = database?.members ?? [];
  const rancher = order.serverDir !== undefined;
  const own = `${order.nodeName}-`;
  const mine = known.filter(({ name }) =>
    rancher
      ? name.startsWith(own) && /^[0-9a-f]{8}$/.test(name.slice(own.length))
      : name === (order.member ?? order.nodeName),
  );
  const self = mine.at(-1) ?? (known.length === 1 ? known[0] : undefined);
  const member = order.member ?? (rancher ? `${order.nodeName}-${randomUUID().slice(0, 8)}` : self?.name);
  const peerUrl = order.peerUrl ?? self?.peerUrls[0];
  if (member !== undefined && peerUrl !== undefined) return { member, peerUrl };
  if (database === undefined) return undefined;
  const names = known.map(({ name, peerUrls }) => `${name} (${peerUrls.join(',')})`).join(', ');
  obstacles.push({
    what: `which member of the snapshot this node is cannot be told; there are ${names}`,
    cure: 'give --member-name and --peer-url',
  });
  return undefined;
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
