import { dirname } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { certificateCopies } from './apply.ts';
import type { DatabaseFacts } from './database.ts';
import type { Journal, Step } from './journal.ts';
import { serviceOf } from './order.ts';
import type { Preflight } from './preflight.ts';
import { stepsLeft } from './restore.ts';

/** The plan, step by step: what is touched, how large it is, and how to undo it. */
export function planText(order: RestoreOrder, found: Preflight, journal: Journal): string {
  const lines = stepsLeft(journal).flatMap((step) => {
    const text = stepText(step, journal, found);
    return text === undefined ? [] : [text];
  });
  return `${headText(order, found, journal)}
Plan:
${lines.map((line, at) => `  ${at + 1}. ${line}\n`).join('')}
To undo it, before ${serviceOf(order)} is started or after it is stopped: ${rollbackCommand(order)}
${found.notes.map((note) => `note: ${note}\n`).join('')}`;
}

function headText(order: RestoreOrder, found: Preflight, journal: Journal): string {
  const { snapshot, space } = found;
  if (journal.purpose === 'reset') return resetText(order, snapshot?.database);
  if (snapshot === undefined) return `Rejoin: ${order.dataDir} is put aside.\n`;
  const { file, database } = snapshot;
  const zip = file.compressed ? `, unpacked ${file.plainSize}` : '';
  const members = database.members.map(({ name, peerUrls }) => `${name} (${peerUrls.join(',')})`).join(', ');
  return `Snapshot: ${file.path}
  ${file.size} bytes${zip}; SHA-256 ${snapshot.sha256}, as etcd wrote it
  revision ${database.revision} in ${database.records} records, of etcd ${database.clusterVersion ?? 'older than 3.5'}
  members: ${members}
Into: ${order.dataDir}, as member ${journal.member} at ${journal.peerUrl}
  ${space.needed} bytes are needed, and ${space.free} are free
`;
}

function resetText({ dataDir }: RestoreOrder, found: DatabaseFacts | undefined): string {
  const what = `Reset: this member of ${dataDir} forgets all others, and keeps its data`;
  if (found === undefined) return `${what}.\n`;
  const names = found.members.map(({ name, peerUrls }) => `${name} (${peerUrls.join(',')})`).join(', ');
  return `${what}, of revision ${found.revision} or later
  members now: ${names}
`;
}

function stepText(step: Step, journal: Journal, found: Preflight): string | undefined {
  const { dataDir, oldDir, workDir, mounted, serverDir, manifests } = journal.places;
  switch (step) {
    case 'unpack':
      return journal.snapshot?.compressed === true ? `unpack the zip into ${workDir}` : undefined;
    case 'extract': {
      if (journal.purpose === 'reset') return `let etcd forget the other members in a copy, ${workDir}`;
      const bump = journal.bumpRevision === 0 ? '' : `, with ${journal.bumpRevision} added to its revision`;
      return `extract it to ${workDir}, for one member alone${bump}, as cluster ${journal.clusterToken}; the checksum is verified`;
    }
    case 'prove':
      return journal.purpose === 'reset'
        ? 'look whether the copy holds everything, and one member'
        : 'compare what came out with the snapshot: revision, records, member';
    case 'stop':
      return (
        manifests &&
        `move the manifests of etcd and the API server to ${manifests.away}, and wait until they have ended`
      );
    case 'set-aside':
      if (!journal.hadData) return `nothing to put aside: ${dataDir} does not exist`;
      return mounted ? `move what is in ${dataDir} to ${oldDir}` : `move ${dataDir} to ${oldDir}`;
    case 'put-in-place':
      return `move the new data to ${dataDir}`;
    case 'certificates': {
      if (serverDir === undefined) return undefined;
      const copies = certificateCopies(journal).map(({ to }) => to);
      return `write ${found.files.length} certificates and secrets below ${serverDir}; copies of what is there: ${copies.join(', ')}`;
    }
    case 'start':
      return manifests && `move the manifests back to ${manifests.dir}: kubelet starts the pods`;
    case 'finish':
      return journal.purpose === 'rejoin' ? undefined : `remove ${workDir}`;
  }
}

export function rollbackCommand(order: RestoreOrder): string {
  return `etcd-snapshot restore --rollback${whereFlags(order)}`;
}

function whereFlags(order: RestoreOrder): string {
  const root = order.serverDir === undefined ? order.dataDir : dirname(order.serverDir);
  const isDefault = root === `/var/lib/rancher/${order.distribution}` || root === '/var/lib/etcd';
  const folder = isDefault && order.distribution !== 'custom' ? '' : ` --data-dir=${root}`;
  return ` --distribution=${order.distribution}${folder}`;
}

/** What is to be done next, in commands to copy. @param self addresses of this member, where the journal does not know them */
export function nextText(
  order: RestoreOrder,
  found: Preflight,
  journal: Journal,
  self: readonly string[],
): string {
  const service = serviceOf(order);
  if (journal.purpose === 'rejoin') {
    return `This member is ready to join. Start it:\n${order.distribution === 'custom' ? joinCustom() : `  systemctl start ${service}\n`}`;
  }
  const others = (found.snapshot?.database.members ?? []).filter(
    ({ peerUrls, isLearner }) =>
      !isLearner && !peerUrls.some((url) => url === journal.peerUrl || self.includes(url)),
  );
  const seed =
    order.serverDir === undefined
      ? ''
      : 'Managed etcd cluster membership has been reset, restart without --cluster-reset flag now.\n';
  const lines = [`${seed}Next, on this node:\n  systemctl start ${service}\n`];
  for (const { name, peerUrls } of others) {
    lines.push(`Then, on ${name} (${peerUrls.join(',')}), one node after the other:\n`);
    if (order.serverDir === undefined) {
      lines.push(`  here: etcdctl member add ${name} --peer-urls=${peerUrls.join(',')}\n`);
    }
    lines.push(`  systemctl stop ${service}\n  etcd-snapshot restore --rejoin --yes${whereFlags(order)}\n`);
    lines.push(order.serverDir === undefined ? joinCustom() : `  systemctl start ${service}\n`);
  }
  return lines.join('');
}

function joinCustom(): string {
  return '  start etcd with --initial-cluster-state=existing and the --initial-cluster that "etcdctl member add" printed\n';
}

/** What was verified. */
export function checkList(order: RestoreOrder, journal: Journal, found: Preflight, seconds: number): string {
  const { snapshot, places } = journal;
  if (snapshot === undefined) {
    return `Done in ${seconds.toFixed(1)} s: ${journal.hadData ? `the old data are in ${places.oldDir}` : 'there were no data'}\n`;
  }
  const certificates =
    order.serverDir === undefined
      ? ''
      : `  [x] certificates  ${found.files.length} files, from the database\n`;
  if (journal.purpose === 'reset') {
    return `Reset in ${seconds.toFixed(1)} s:
  [x] revision      ${snapshot.revision} or later
  [x] members       1
${certificates}  [x] old data      ${places.oldDir}; we never delete them
`;
  }
  return `Restored in ${seconds.toFixed(1)} s:
  [x] checksum      ${snapshot.sha256}
  [x] revision      ${snapshot.revision}${journal.bumpRevision === 0 ? '' : ` + ${journal.bumpRevision} = ${snapshot.revision + journal.bumpRevision}`}
  [x] records       ${snapshot.records}
  [x] members       1: ${journal.member} at ${journal.peerUrl}
${certificates}  [x] old data      ${journal.hadData ? places.oldDir : 'there were none'}; we never delete them
`;
}
