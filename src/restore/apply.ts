import { cp, mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { SnapshotError } from '../errors.ts';
import { syncFolder } from '../stores/atomic-write.ts';
import type { BootstrapFile } from './bootstrap.ts';
import { type DatabaseFacts, readDatabase } from './database.ts';
import { copyTree, exists, moveTo, settleTree, writeSmall } from './files.ts';
import type { Journal, Step } from './journal.ts';
import { startPods, stopPods } from './manifests.ts';
import type { Obstacle } from './order.ts';
import type { EtcdTools } from './ports.ts';
import { findSnapshotFile } from './snapshot-file.ts';
import { unpackedPath, unpackInto } from './unpack.ts';

/** What the steps use besides the journal. */
export interface Workshop {
  readonly tools: EtcdTools;
  /** Programs that must have ended before data are moved. */
  readonly running: () => Promise<readonly Obstacle[]>;
  /** Certificates and secrets that go to the disk; undefined where the distribution keeps none in etcd. */
  readonly bootstrap: ((database: DatabaseFacts) => Promise<readonly BootstrapFile[]>) | undefined;
}

type Apply = (journal: Journal, workshop: Workshop, signal: AbortSignal) => Promise<void>;

/** Each leaves what it finds done already as it is. Only what lies in the work folder is ever deleted. */
export const applySteps: Readonly<Record<Step, Apply>> = {
  unpack,
  extract,
  prove,
  stop: (journal, { running }, signal) => stopPods(journal, running, signal),
  'set-aside': setAside,
  'put-in-place': putInPlace,
  certificates: writeCertificates,
  start: startPods,
  finish: async ({ places }) => {
    await rm(places.workDir, { recursive: true, force: true });
    await syncFolder(dirname(places.workDir));
  },
};

const newData = ({ places }: Journal) => join(places.workDir, 'data');
/** Marks in the work folder that the data in it were proven and may be put in place. */
const provenMark = ({ places }: Journal) => join(places.workDir, 'proven');

export function snapshotOf(journal: Journal): NonNullable<Journal['snapshot']> {
  if (journal.snapshot !== undefined) return journal.snapshot;
  throw new SnapshotError('corrupt', 'The journal of the restore names no snapshot', {
    hint: 'Put the old data back with --rollback, and begin again.',
  });
}

async function unpack(journal: Journal, _workshop: Workshop, signal: AbortSignal): Promise<void> {
  const { workDir } = journal.places;
  await mkdir(workDir, { recursive: true, mode: 0o700 });
  const { path, compressed, sha256 } = snapshotOf(journal);
  if (!compressed || (await exists(unpackedPath(workDir, sha256)))) return;
  if ((await unpackInto(await findSnapshotFile(path), workDir, signal)) !== sha256) throw another(path);
}

async function extract(journal: Journal, { tools }: Workshop, signal: AbortSignal): Promise<void> {
  const { path, compressed, sha256 } = snapshotOf(journal);
  const dataDir = newData(journal);
  await rm(provenMark(journal), { force: true });
  await rm(dataDir, { recursive: true, force: true });
  if (journal.purpose === 'reset') {
    await forgetPeers(journal, tools, signal);
    return;
  }
  const { member, peerUrl, clusterToken, bumpRevision } = journal;
  const snapshot = compressed ? unpackedPath(journal.places.workDir, sha256) : path;
  await tools.restore({ snapshot, dataDir, member, peerUrl, clusterToken, bumpRevision }, signal);
}

/** In a copy: the data that are there stay as they are. */
async function forgetPeers(journal: Journal, tools: EtcdTools, signal: AbortSignal): Promise<void> {
  const { places, member, peerUrl } = journal;
  const dataDir = newData(journal);
  await mkdir(dataDir, { mode: 0o700 });
  for (const name of ['member', 'name']) {
    const from = join(places.dataDir, name);
    if (!(await exists(from))) continue;
    // A log that is a link has to be copied too: etcd would write into the one of the data that stay.
    await cp(from, join(dataDir, name), { recursive: true, preserveTimestamps: true, dereference: true });
  }
  // The path of a socket has to be short.
  const runDir = await mkdtemp(join(tmpdir(), 'etcd-snapshot-'));
  const quota = snapshotOf(journal).plainSize * 2 + 2 ** 30;
  try {
    await tools.forgetPeers({ dataDir, runDir, member, peerUrl, quota }, signal);
  } finally {
    await rm(runDir, { recursive: true, force: true });
  }
}

/** What etcdutl made must be what was promised before anything is moved. */
async function prove(journal: Journal, _workshop: Workshop, signal: AbortSignal): Promise<void> {
  const { member, places, owner } = journal;
  const { path } = snapshotOf(journal);
  const dataDir = newData(journal);
  const made = await readDatabase(join(dataDir, 'member/snap/db'), signal);
  const differences = differencesOf(journal, made);
  if (differences.length > 0) {
    throw new SnapshotError('corrupt', `What was restored from ${path} is not what is in it`, {
      why: differences.join('; '),
      hint: 'Nothing was moved. Try another snapshot, and check the disk.',
    });
  }
  // K3s and RKE2 look up their own name here; without it they take the data for those of another member.
  if (places.serverDir !== undefined && journal.purpose === 'restore')
    await writeFile(join(dataDir, 'name'), member, { mode: 0o600 });
  await settleTree(dataDir, owner);
  await writeSmall(provenMark(journal), '');
}

function differencesOf(journal: Journal, made: DatabaseFacts): string[] {
  const { member, peerUrl, bumpRevision } = journal;
  const { revision, records } = snapshotOf(journal);
  const names = made.members.map(({ name }) => name).join(', ');
  if (journal.purpose === 'reset') {
    // What was in the log only has been applied, so there may be more than before.
    return [
      made.revision >= revision ? '' : `revision ${made.revision} for ${revision}`,
      made.members.length === 1 ? '' : `members ${names} for one`,
    ].filter((difference) => difference !== '');
  }
  const wanted = { revision: revision + bumpRevision, records: records + (bumpRevision === 0 ? 0 : 1) };
  const [only, ...others] = made.members;
  const alone = only?.name === member && only.peerUrls.join() === peerUrl && others.length === 0;
  return [
    made.revision === wanted.revision ? '' : `revision ${made.revision} for ${wanted.revision}`,
    made.records === wanted.records ? '' : `${made.records} records for ${wanted.records}`,
    alone ? '' : `members ${names} for ${member}`,
  ].filter((difference) => difference !== '');
}

async function setAside(journal: Journal): Promise<void> {
  const { dataDir, oldDir, workDir, mounted } = journal.places;
  if (!mounted) {
    if (journal.hadData && !(await exists(oldDir))) await moveTo(dataDir, oldDir);
    return;
  }
  await mkdir(oldDir, { recursive: true, mode: 0o700 });
  // Once the new data are being put in place, nothing is left that could be old.
  if (journal.purpose !== 'rejoin' && !(await exists(newData(journal)))) return;
  for (const name of await namesOfData(journal)) await moveTo(join(dataDir, name), join(oldDir, name));
  await syncFolder(dirname(workDir));
}

/** What lies in a mounted data folder and is neither ours nor an earlier restore's. */
export async function namesOfData({ places }: Journal): Promise<string[]> {
  const kept =
    /^(?:etcd-(?:old|restore|undone)-\d+|lost\+found|\.etcd-snapshot\..*|\.?\.etcd-restore\.json.*)$/;
  return (await readdir(places.dataDir)).filter((name) => !kept.test(name));
}

async function putInPlace(journal: Journal): Promise<void> {
  const { dataDir, mounted } = journal.places;
  const made = newData(journal);
  if (!(await exists(made))) return;
  if (!(await exists(provenMark(journal)))) {
    throw new SnapshotError('corrupt', 'The restored data were not proven', {
      hint: 'Put the old data back with --rollback, and begin again.',
    });
  }
  if (!mounted) {
    await moveTo(made, dataDir);
    return;
  }
  for (const name of await readdir(made)) await moveTo(join(made, name), join(dataDir, name));
  await rm(made, { recursive: true });
}

/** Copies of what was there before: `tls-<unix time>` and `cred-<unix time>`. */
export function certificateCopies(journal: Journal): { readonly from: string; readonly to: string }[] {
  const { serverDir } = journal.places;
  if (serverDir === undefined) return [];
  return ['tls', 'cred'].map((name) => ({
    from: join(serverDir, name),
    to: join(serverDir, `${name}-${journal.began}`),
  }));
}

/** Where K3s notes that a reset was done; its next start takes it away, and the node's old password along. */
export function resetFlag(serverDir: string): string {
  return join(serverDir, 'db/reset-flag');
}

async function writeCertificates(journal: Journal, workshop: Workshop, signal: AbortSignal): Promise<void> {
  const { serverDir, dataDir } = journal.places;
  if (serverDir === undefined || workshop.bootstrap === undefined) return;
  const files = await workshop.bootstrap(await readDatabase(join(dataDir, 'member/snap/db'), signal));
  for (const { from, to } of certificateCopies(journal)) {
    if ((await exists(to)) || !(await exists(from))) continue;
    // A copy that was cut off must not pass for one that is whole.
    const unfinished = `${to}.unfinished`;
    await rm(unfinished, { recursive: true, force: true });
    await copyTree(from, unfinished);
    await moveTo(unfinished, to);
  }
  for (const { path, content, mtime } of files) {
    const target = join(serverDir, path);
    await writeSmall(target, content);
    if (mtime !== undefined) await utimes(target, mtime, mtime);
  }
  await writeSmall(resetFlag(serverDir), '');
}

function another(path: string): SnapshotError {
  return new SnapshotError('conflict', `${path} is not the snapshot that the restore began with`, {
    why: 'its SHA-256 is another one',
    hint: 'Put the old data back with --rollback, or put the snapshot back in its place.',
  });
}
