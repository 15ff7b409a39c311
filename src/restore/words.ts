import { dirname, join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { certificateCopies } from './apply.ts';
import type { DatabaseFacts } from './database.ts';
import type { Journal, Step } from './journal.ts';
import { serviceOf } from './order.ts';
import { otherMembers } from './own-member.ts';
import type { Preflight } from './preflight.ts';
import { joinUrl } from './rejoin.ts';
import { stepsLeft } from './restore.ts';
import { quoted } from './shell.ts';

/** The plan, step by step: what is touched, how large it is, and how to undo it. */
export function planText(order: RestoreOrder, found: Preflight, journal: Journal): string {
  const lines = stepsLeft(journal).flatMap((step) => {
    const text = stepText(step, journal, found);
    return text === undefined ? [] : [text];
  });
  return `${headText(order, found, journal)}
Plan:
${lines.map((line, at) => `  ${at + 1}. ${line}\n`).join('')}
To undo it${order.distribution === 'kubeadm' ? '' : `, before ${serviceOf(order)} is started or after it is stopped`}: ${rollbackCommand(order)}
${found.notes.map((note) => `note: ${note}\n`).join('')}`;
}

function headText(order: RestoreOrder, found: Preflight, journal: Journal): string {
  const { snapshot, space } = found;
  if (journal.purpose === 'reset') return resetText(order, snapshot?.database);
  if (journal.purpose === 'rejoin') return `Rejoin: ${order.dataDir} is put aside.\n`;
  if (snapshot === undefined)
    return `Into: ${order.dataDir}, as member ${journal.member} at ${journal.peerUrl}\n`;
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
      if (manifests?.initialCluster !== undefined) {
        return `move the manifests back to ${manifests.dir}, that of etcd with --initial-cluster-state=existing and --initial-cluster=${manifests.initialCluster}; as it was it stays in ${manifests.away}`;
      }
      return manifests && `move the manifests back to ${manifests.dir}: kubelet starts the pods`;
    case 'finish':
      return journal.purpose === 'rejoin' ? undefined : `remove ${workDir}`;
  }
}

export function rollbackCommand(order: RestoreOrder): string {
  return `etcd-snapshot restore --rollback${whereFlags(order)}`;
}

/** Flags that another command needs to find the same data; of those that may also be those of another node, none. */
function whereFlags(order: RestoreOrder): string {
  const root = order.serverDir === undefined ? order.dataDir : dirname(order.serverDir);
  const isDefault = root === `/var/lib/rancher/${order.distribution}`;
  // With kubeadm the manifest names the folder.
  const told = order.distribution === 'kubeadm' ? !order.dataDirGiven : isDefault;
  const folder = told ? '' : ` ${quoted(`--data-dir=${root}`)}`;
  const pods = order.manifestsGiven ? ` ${quoted(`--manifests=${order.manifestDir}`)}` : '';
  return ` --distribution=${order.distribution}${folder}${pods}`;
}

/** What is known only when the data are in place. */
export interface Made {
  /** This member, which a reset's journal does not know. */
  readonly self: { readonly name: string; readonly peerUrls: readonly string[] } | undefined;
  /** With the flags that reach the etcd of this node, where a manifest tells them. */
  readonly etcdctl: string | undefined;
}

/** What is to be done next, in commands to copy. */
export function nextText(order: RestoreOrder, found: Preflight, journal: Journal, made: Made): string {
  const service = serviceOf(order);
  const byKubelet = journal.places.manifests !== undefined;
  if (journal.purpose === 'rejoin') {
    const { manifests } = journal.places;
    if (manifests !== undefined) {
      return `This member joins the others as soon as kubelet finds ${manifests.dir}/etcd.yaml.\n`;
    }
    const start = order.serverDir === undefined ? joinCustom('') : `  systemctl start ${service}\n`;
    return `This member is ready to join. Start it:\n${start}`;
  }
  const self = made.self ?? { name: journal.member, peerUrls: [journal.peerUrl] };
  const [url = ''] = self.peerUrls;
  const others = otherMembers(order, found.snapshot?.database.members ?? [], self);
  const seed =
    order.serverDir === undefined
      ? ''
      : 'Managed etcd cluster membership has been reset, restart without --cluster-reset flag now.\n';
  const byHand =
    order.manifestDir === undefined
      ? `  systemctl start ${service}\n`
      : `  move etcd.yaml and kube-apiserver.yaml back to ${order.manifestDir}: kubelet starts them\n`;
  const here = byKubelet
    ? 'Next, wait until this answers on this node (kubelet starts etcd and the API server now):\n  kubectl get nodes\n'
    : `Next, on this node:\n${byHand}`;
  const lines = [`${seed}${here}`];
  const all = self.peerUrls.map((one) => `${self.name}=${one}`);
  for (const { name, peerUrls } of others) {
    all.push(...peerUrls.map((one) => `${name}=${one}`));
    const at = `${name} (${peerUrls.join(',')})`;
    lines.push(`Then, on ${at}, one node after the other:\n`);
    lines.push(
      order.serverDir === undefined
        ? rejoinEtcd(order, { name, peerUrls, all: all.join(','), etcdctl: made.etcdctl ?? 'etcdctl' })
        : rejoinServer(order, url),
    );
  }
  return lines.join('');
}

function rejoinEtcd(
  order: RestoreOrder,
  one: {
    readonly name: string;
    readonly peerUrls: readonly string[];
    readonly all: string;
    readonly etcdctl: string;
  },
): string {
  const { name, peerUrls, all, etcdctl } = one;
  const kubeadm = order.distribution === 'kubeadm';
  const add = `${etcdctl} member add ${quoted(name)} ${quoted(`--peer-urls=${peerUrls.join(',')}`)}`;
  const stop = kubeadm ? '' : `  systemctl stop ${serviceOf(order)}\n`;
  const cluster = kubeadm ? ` ${quoted(`--initial-cluster=${all}`)}` : '';
  return `  # on this node, once all members that were added answer; then etcd waits for the new one
  ${add}
  # on ${name}${kubeadm ? '; where its etcd.yaml was moved away, name that folder with --manifests, and move it back afterwards' : ''}
${stop}  etcd-snapshot restore --rejoin --yes${whereFlags(order)}${cluster}
${kubeadm ? '' : joinCustom(all)}`;
}

/** A server that has no other to join, and no data, founds a cluster of its own. */
function rejoinServer(order: RestoreOrder, peerUrl: string): string {
  const service = serviceOf(order);
  const file = `/etc/rancher/${order.distribution}/config.yaml`;
  const token = join(order.serverDir ?? '', 'token');
  const line = (what: string, text: string) =>
    `  grep -qs '^${what}' ${file} || printf '\\n%s\\n' ${quoted(text)} >> ${file}\n`;
  return `  systemctl stop ${service}
${line('server:', `server: ${joinUrl(order, peerUrl)}`)}${line('token', `token-file: ${token}`)}  etcd-snapshot restore --rejoin --yes${whereFlags(order)}
  systemctl start ${service}
`;
}

/** @param all of `--initial-cluster`; empty where only the restored node knows it */
function joinCustom(all: string): string {
  const cluster =
    all === ''
      ? 'the --initial-cluster that "etcdctl member add" printed'
      : quoted(`--initial-cluster=${all}`);
  return `  # start etcd with --initial-cluster-state=existing and ${cluster}\n`;
}

/** What was verified. */
export function checkList(order: RestoreOrder, journal: Journal, found: Preflight, seconds: number): string {
  const { snapshot, places } = journal;
  if (snapshot === undefined) {
    return `Done in ${seconds.toFixed(1)} s: ${journal.hadData ? `the old data are in ${places.oldDir}` : 'there were no data'}\n`;
  }
  const certificates =
    order.serverDir === undefined || found.files.length === 0
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
