import { join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import type { Journal } from './journal.ts';
import { PODS } from './manifests.ts';
import { serviceOf } from './order.ts';
import type { Preflight } from './preflight.ts';
import { quoted } from './shell.ts';

/**
 * A plan as a script for people who want to do it by hand. It stops at the first command that fails, leaves the shell that
 * it is pasted into as it is, and shows what it unpacks to nobody else.
 */
export function commandsText(order: RestoreOrder, found: Preflight, journal: Journal): string {
  const making = journal.purpose === 'rejoin' ? [] : extraction(journal, found);
  const placing = journal.purpose === 'rejoin' ? [] : putting(journal);
  const stop = stopping(order, journal);
  // Data that are to be kept must not change while they are copied; a snapshot is restored while the old etcd still runs.
  const begin = journal.purpose === 'reset' ? [...stop, ...making] : [...making, ...stop];
  const lines = [...begin, ...settingAside(journal), ...placing];
  const all = ['set -eu', 'umask 077', ...lines, ...starting(order, journal)];
  return `(\n${all.map((line) => `${line}\n`).join('')})\n`;
}

const made = ({ places }: Journal) => join(places.workDir, 'data');

function extraction(journal: Journal, found: Preflight): string[] {
  const { snapshot, member, peerUrl, clusterToken, bumpRevision, places } = journal;
  if (journal.purpose === 'reset') return forgetting(journal);
  const path = snapshot?.path ?? '';
  const unpacked = join(places.workDir, 'snapshot');
  const unzip = found.snapshot?.file.compressed === true;
  const bump = bumpRevision === 0 ? '' : ` --bump-revision=${bumpRevision} --mark-compacted`;
  return [
    `mkdir ${quoted(places.workDir)}`,
    ...(unzip ? [`unzip -p ${quoted(path)} > ${quoted(unpacked)}`] : []),
    `etcdutl snapshot restore ${quoted(unzip ? unpacked : path)} ${quoted(`--data-dir=${made(journal)}`)} ${quoted(`--name=${member}`)} ${quoted(`--initial-cluster=${member}=${peerUrl}`)} ${quoted(`--initial-advertise-peer-urls=${peerUrl}`)} ${quoted(`--initial-cluster-token=${clusterToken}`)}${bump}`,
    // By this name K3s and RKE2 know that the data are their own.
    ...(places.serverDir === undefined
      ? []
      : [`printf %s ${quoted(member)} > ${quoted(join(made(journal), 'name'))}`]),
  ];
}

/** In a copy, by an etcd on sockets that nobody else knows, which is ended when it serves. */
function forgetting(journal: Journal): string[] {
  const { places } = journal;
  const data = quoted(made(journal));
  const log = quoted(join(places.workDir, 'etcd.log'));
  const url = (name: string) => quoted(`unix://${join(places.workDir, name)}`);
  return [
    `mkdir ${quoted(places.workDir)} ${data}`,
    `for name in member name; do [ ! -e ${quoted(places.dataDir)}/$name ] || cp -aL ${quoted(places.dataDir)}/$name ${data}; done`,
    `etcd --force-new-cluster --data-dir=${data} --listen-client-urls=${url('client')} --advertise-client-urls=http://localhost:1 --listen-peer-urls=${url('peer')} > ${log} 2>&1 &`,
    `until grep -q 'ready to serve client requests' ${log}; do kill -0 $!; sleep 1; done`,
    'kill $!; wait $! || true',
  ];
}

function stopping(order: RestoreOrder, { places }: Journal): string[] {
  const { manifests } = places;
  if (manifests === undefined && order.manifestDir !== undefined) return stillOpen(places.dataDir);
  if (manifests === undefined) {
    return [`systemctl stop ${serviceOf(order)}`, ...killing(order), ...stillOpen(places.dataDir)];
  }
  const { dir, away } = manifests;
  return [
    `mkdir -p ${quoted(away)}`,
    `for name in ${PODS.join(' ')}; do [ ! -e ${quoted(dir)}/$name ] || mv ${quoted(dir)}/$name ${quoted(away)}; done`,
    ...stillOpen(places.dataDir),
  ];
}

function killing({ distribution }: RestoreOrder): string[] {
  return distribution === 'rke2' ? ['rke2-killall.sh'] : [];
}

/** Waits until no program has the data open: a container ends some time after what started it. */
function stillOpen(dataDir: string): string[] {
  return [
    `while ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF ${quoted(` ${dataDir}/member/`)}; do echo 'waiting for etcd to end' >&2; sleep 1; done`,
  ];
}

function settingAside({ places, hadData }: Journal): string[] {
  const { dataDir, oldDir, mounted } = places;
  if (!hadData) return [];
  if (!mounted) return [`mv ${quoted(dataDir)} ${quoted(oldDir)}`];
  return [
    `mkdir -p ${quoted(oldDir)}`,
    `for name in member name config; do [ ! -e ${quoted(dataDir)}/$name ] || mv ${quoted(dataDir)}/$name ${quoted(oldDir)}; done`,
  ];
}

function putting(journal: Journal): string[] {
  const { places, owner } = journal;
  const { dataDir, workDir, mounted, serverDir } = places;
  const from = quoted(made(journal));
  return [
    `chown -R ${owner.uid}:${owner.gid} ${from}`,
    mounted ? `mv ${from}/* ${quoted(dataDir)}` : `mv ${from} ${quoted(dataDir)}`,
    `rm -r ${quoted(workDir)}`,
    ...(serverDir === undefined
      ? []
      : [
          `# by hand the certificates stay as they are; etcd-snapshot restore takes them from the snapshot, too`,
          `touch ${quoted(join(serverDir, 'db/reset-flag'))}`,
        ]),
  ];
}

function starting(order: RestoreOrder, { places }: Journal): string[] {
  const { manifests } = places;
  if (manifests === undefined) {
    return [
      order.manifestDir === undefined
        ? `systemctl start ${serviceOf(order)}`
        : `# move etcd.yaml and kube-apiserver.yaml back to ${order.manifestDir} now`,
    ];
  }
  const { dir, away, initialCluster } = manifests;
  const back = `for name in ${PODS.join(' ')}; do [ ! -e ${quoted(away)}/$name ] || mv ${quoted(away)}/$name ${quoted(dir)}; done`;
  if (initialCluster === undefined) return [back, `rmdir ${quoted(away)}`];
  const [pod, before] = [quoted(join(away, 'etcd.yaml')), quoted(join(away, 'etcd-before-rejoin.yaml'))];
  const cluster = `s|^( *- )"?--initial-cluster=[^"]*"?$|\\1--initial-cluster=${initialCluster}\\n\\1--initial-cluster-state=existing|`;
  return [
    `mv ${pod} ${before}`,
    `sed -E -e '/--initial-cluster-state=/d' -e ${quoted(cluster)} ${before} > ${pod}`,
    `grep -q -e '--initial-cluster-state=existing' ${pod}`,
    back,
  ];
}
