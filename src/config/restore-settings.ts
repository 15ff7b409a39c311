import { join, resolve } from 'node:path';
import { parseBoolean } from './duration.ts';
import type { Given, Problem } from './flags.ts';
import { type Distribution, Redacted } from './types.ts';

/** As etcd's own documentation advises: more than a cluster changes between a snapshot and its restore. */
const BUMP_REVISION = 1_000_000_000;
/** Where kubelet of kubeadm finds its static pods. */
const MANIFESTS = '/etc/kubernetes/manifests';
const PEER_URL = /^https?:\/\/[^/\s,]+:\d{1,5}$/;

/** What the user wants of a restore, as far as flags and surroundings say it. */
export interface RestoreOrder {
  /** `reset` keeps the data and forgets the peers; `rejoin` only puts the data aside; `rollback` undoes the last restore. */
  readonly purpose: 'restore' | 'reset' | 'rejoin' | 'rollback';
  readonly distribution: Distribution;
  readonly nodeName: string;
  /** etcd's data folder. */
  readonly dataDir: string;
  /** Whether it was named, and not assumed. */
  readonly dataDirGiven: boolean;
  /** `<data-dir>/server` of K3s or RKE2. */
  readonly serverDir: string | undefined;
  /** Name of the member and its address for others, where they were given. */
  readonly member: string | undefined;
  readonly peerUrl: string | undefined;
  /** 0: revisions go on where the snapshot ends. */
  readonly bumpRevision: number;
  readonly bumpGiven: boolean;
  /** Given by flag or variable; else it is in the server folder. */
  readonly token: Redacted | undefined;
  /** Of a server that this one joins; restoring and joining exclude each other. */
  readonly serverUrl: string | undefined;
  readonly allowOtherCluster: boolean;
  /** What answers where an old member was is none: only for a restore of a snapshot. */
  readonly allowRunningPeers: boolean;
  /** Of kubelet's static pods, with kubeadm. */
  readonly manifestDir: string | undefined;
  readonly manifestsGiven: boolean;
  /** `name=url,name=url`: all members of the cluster that a kubeadm node rejoins, itself included. */
  readonly initialCluster: string | undefined;
  /** `host:port` where nobody may listen while the data are changed; those of other nodes do not matter. */
  readonly addresses: readonly string[];
  readonly dryRun: boolean;
  /** Write commands that do the same, and do nothing. */
  readonly printCommands: boolean;
  readonly yes: boolean;
}

/** The arguments, and what `k3s server` calls the path of the snapshot. */
export function snapshotsNamed(words: readonly string[], given: Given): string[] {
  const { clusterResetRestorePath: path } = given;
  return path === undefined ? [...words] : [...words, path];
}

/**
 * `s3://bucket/key` switches S3 on, whatever a file says of it, and names the bucket. Where nothing can be meant but paths, what a
 * file says of S3 does not matter, and what is wrong with it must not stand in the way.
 * @param flags of the command line
 */
export function useS3For(names: readonly string[], given: Given, flags: Given): void {
  const url = names.find((name) => name.startsWith('s3://'));
  if (url !== undefined) {
    given.s3 = flags.s3 ?? 'true';
    given.s3Bucket = url.slice('s3://'.length).split('/')[0] ?? '';
  } else if (flags.s3 === undefined && names.every((name) => name.includes('/'))) delete given.s3;
}

/** @param around of `resolveConfig`, which has checked the distribution; `word` is how the command was called */
export function restoreOrder(
  given: Given,
  around: {
    readonly distribution: Distribution;
    readonly nodeName: string;
    readonly dataDir: string;
    readonly cwd: string;
    readonly word: string | undefined;
  },
  words: readonly string[],
  problems: Problem[],
): RestoreOrder {
  const { distribution, nodeName } = around;
  const purpose = purposeOf(given, words);
  checkPurpose(given, purpose, words, problems);
  if (around.word === 'server' && !isTrue(given.clusterReset)) {
    const cure = 'add --cluster-reset; servers themselves are run by K3s';
    problems.push({ what: 'server only resets a cluster, and --cluster-reset is missing', cure });
  }
  if (distribution === 'custom' && given.dataDir === undefined) {
    problems.push({
      what: '--data-dir is missing: where an etcd of its own keeps its data cannot be guessed',
      cure: 'name the data folder of etcd',
    });
  }
  const { peerUrl, memberName: member } = given;
  checkMembers(given, distribution, purpose, problems);
  const dataDir = resolve(around.cwd, around.dataDir);
  const rancher = distribution === 'k3s' || distribution === 'rke2';
  const serverDir = rancher ? join(dataDir, 'server') : undefined;
  return {
    purpose,
    distribution,
    nodeName,
    dataDir: serverDir === undefined ? dataDir : join(serverDir, 'db/etcd'),
    dataDirGiven: given.dataDir !== undefined,
    serverDir,
    member,
    peerUrl,
    bumpRevision: given.bumpRevision === undefined ? BUMP_REVISION : Number(given.bumpRevision),
    bumpGiven: given.bumpRevision !== undefined,
    token: given.token === undefined ? undefined : new Redacted(given.token),
    serverUrl: given.serverUrl,
    manifestDir: distribution === 'kubeadm' ? resolve(around.cwd, given.manifests ?? MANIFESTS) : undefined,
    manifestsGiven: given.manifests !== undefined,
    initialCluster: given.initialCluster,
    allowOtherCluster: isTrue(given.allowOtherCluster),
    allowRunningPeers: isTrue(given.allowRunningPeers),
    addresses: addressesOf(distribution, given),
    dryRun: isTrue(given.dryRun),
    printCommands: isTrue(given.printCommands),
    yes: isTrue(given.yes),
  };
}

function checkMembers(
  { peerUrl, memberName: member, initialCluster }: Given,
  distribution: Distribution,
  purpose: RestoreOrder['purpose'],
  problems: Problem[],
): void {
  if (peerUrl !== undefined && !PEER_URL.test(peerUrl)) {
    problems.push({
      what: `--peer-url: ${JSON.stringify(peerUrl)} is no address`,
      cure: 'write https://host:2380',
    });
  }
  if (member !== undefined && !/^[^\s,=]+$/.test(member)) {
    problems.push({
      what: `--member-name: ${JSON.stringify(member)} is no name of a member`,
      cure: 'use no blanks, commas or =',
    });
  }
  if (initialCluster === undefined) return;
  if (distribution !== 'kubeadm' || purpose !== 'rejoin') {
    const what = '--initial-cluster has a meaning with --rejoin of kubeadm only';
    problems.push({ what, cure: 'leave it out' });
  }
  const wrong = initialCluster.split(',').find((one) => {
    const [, name, url] = /^([^=]*)=(.*)$/.exec(one) ?? [];
    return !/^[^\s,=]+$/.test(name ?? '') || !PEER_URL.test(url ?? '');
  });
  if (wrong === undefined) return;
  problems.push({
    what: `--initial-cluster: ${JSON.stringify(wrong)} is no member`,
    cure: 'write name=https://host:2380,name=https://host:2380, as etcdctl member add prints it',
  });
}

function purposeOf(given: Given, words: readonly string[]): RestoreOrder['purpose'] {
  if (isTrue(given.rollback)) return 'rollback';
  if (isTrue(given.rejoin)) return 'rejoin';
  return isTrue(given.clusterReset) && words.length === 0 ? 'reset' : 'restore';
}

function checkPurpose(
  given: Given,
  purpose: RestoreOrder['purpose'],
  words: readonly string[],
  problems: Problem[],
): void {
  if (purpose === 'rollback' && isTrue(given.printCommands)) {
    problems.push({
      what: '--print-commands has no meaning with --rollback',
      cure: 'leave one of them out; --rollback --dry-run shows what would be moved',
    });
  }
  if (purpose !== 'restore' && isTrue(given.allowRunningPeers)) {
    problems.push({
      what: '--allow-running-peers has a meaning with a snapshot only',
      cure: `leave it out${purpose === 'reset' ? '; a reset keeps the ids of the cluster, so old members have to be stopped' : ''}`,
    });
  }
  if (isTrue(given.rollback) && isTrue(given.rejoin)) {
    problems.push({ what: '--rollback and --rejoin exclude each other', cure: 'give one of them' });
  }
  if (purpose === 'restore' && words.length === 0) {
    const cure = 'write etcd-snapshot restore SNAPSHOT: a path, or a name that etcd-snapshot ls shows';
    problems.push({ what: 'no snapshot is named that is to be restored', cure });
  }
  if (words.length > (purpose === 'restore' ? 1 : 0)) {
    const what = purpose === 'restore' ? 'more than one snapshot is named' : `--${purpose} takes no snapshot`;
    problems.push({ what, cure: purpose === 'restore' ? 'name one' : 'leave it out' });
  }
}

function addressesOf(distribution: Distribution, given: Given): string[] {
  const own = (given.etcdServers ?? '').split(',').flatMap((url) => {
    const host = URL.parse(url.trim())?.host;
    return host === undefined || host === '' ? [] : [host];
  });
  if (distribution === 'custom') return own;
  const supervisor = distribution === 'rke2' ? ['127.0.0.1:9345'] : [];
  return ['127.0.0.1:2379', '127.0.0.1:2380', '127.0.0.1:6443', ...supervisor, ...own];
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && parseBoolean(value) === true;
}
