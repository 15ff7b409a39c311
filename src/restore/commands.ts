import { basename, join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import type { Journal } from './journal.ts';
import { serviceOf } from './order.ts';
import type { Preflight } from './preflight.ts';

/** A plan as commands of a shell, for people who want to do it by hand. */
export function commandsText(order: RestoreOrder, found: Preflight, journal: Journal): string {
  const { dataDir, oldDir, workDir, manifests, mounted, serverDir } = journal.places;
  const made = join(workDir, 'data');
  const aside = mounted
    ? [`mkdir -p ${quoted(oldDir)}`, `mv ${quoted(join(dataDir, 'member'))} ${quoted(oldDir)}`]
    : [`mv ${quoted(dataDir)} ${quoted(oldDir)}`];
  const restored = [
    ...extraction(journal, found),
    ...stopping(order, manifests),
    ...(journal.hadData ? aside : []),
    mounted
      ? `mv ${quoted(join(made, 'member'))} ${quoted(dataDir)}`
      : `mv ${quoted(made)} ${quoted(dataDir)}`,
    `chown -R ${journal.owner.uid}:${journal.owner.gid} ${quoted(dataDir)}`,
    ...(serverDir === undefined
      ? []
      : ['# by hand the certificates stay as they are; etcd-snapshot restore takes them from the snapshot']),
    ...starting(order, manifests),
  ];
  const lines =
    journal.purpose === 'rejoin'
      ? [...stopping(order, manifests), ...aside, ...starting(order, manifests)]
      : restored;
  return lines.map((line) => `${line}\n`).join('');
}

function extraction(journal: Journal, found: Preflight): string[] {
  const { snapshot, member, peerUrl, clusterToken, bumpRevision, places } = journal;
  const made = join(places.workDir, 'data');
  if (journal.purpose === 'reset') {
    return [
      `mkdir -p ${quoted(made)}`,
      `cp -a ${quoted(join(places.dataDir, 'member'))} ${quoted(made)}`,
      `# until it serves, then Ctrl-C: etcd --force-new-cluster --data-dir=${quoted(made)}`,
    ];
  }
  const path = snapshot?.path ?? '';
  const unpacked = join(places.workDir, 'snapshot');
  const unzip = found.snapshot?.file.compressed === true;
  const bump = bumpRevision === 0 ? '' : ` --bump-revision=${bumpRevision} --mark-compacted`;
  return [
    `mkdir -p ${quoted(places.workDir)}`,
    ...(unzip ? [`unzip -p ${quoted(path)} > ${quoted(unpacked)}`] : []),
    `etcdutl snapshot restore ${quoted(unzip ? unpacked : path)} --data-dir=${quoted(made)} --name=${quoted(member)} --initial-cluster=${quoted(`${member}=${peerUrl}`)} --initial-advertise-peer-urls=${quoted(peerUrl)} --initial-cluster-token=${quoted(clusterToken)}${bump}`,
  ];
}

function stopping(order: RestoreOrder, manifests: Journal['places']['manifests']): string[] {
  if (manifests === undefined) return [`systemctl stop ${serviceOf(order)}`];
  const { dir, away } = manifests;
  const pods = ['etcd.yaml', 'kube-apiserver.yaml'].map((name) => quoted(join(dir, name))).join(' ');
  return [
    `mkdir -p ${quoted(away)}`,
    `mv ${pods} ${quoted(away)}`,
    `# wait until they have ended: crictl ps shows neither etcd nor kube-apiserver`,
  ];
}

function starting(order: RestoreOrder, manifests: Journal['places']['manifests']): string[] {
  if (manifests === undefined) return [`systemctl start ${serviceOf(order)}`];
  const away = ['etcd.yaml', 'kube-apiserver.yaml'].map((name) => quoted(join(manifests.away, name)));
  return [`mv ${away.join(' ')} ${quoted(manifests.dir)}`, `# ${basename(manifests.away)} may go now`];
}

/** As one word of a shell. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
