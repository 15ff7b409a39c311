import { operatorOptions } from './operator-options.ts';
import type { CommandName, Option } from './option.ts';
import { restoreOptions } from './restore-options.ts';
import { s3Options } from './s3-options.ts';

const every = ['save', 'ls', 'verify', 'restore', 'operator'] as const;
const saving = ['save', 'operator'] as const;

/** The option table, in the order of the help. */
export const options: readonly Option[] = [
  ...operatorOptions,
  {
    key: 'name',
    flag: 'name',
    alias: 'etcd-snapshot-name',
    type: 'string',
    default: 'on-demand; etcd-snapshot for the operator',
    help: 'Base name; the file is called <name>-<node>-<unix seconds>',
    section: 'Snapshot',
    commands: saving,
  },
  {
    key: 'dir',
    flag: 'dir',
    alias: 'etcd-snapshot-dir',
    type: 'string',
    default: '<data-dir>/server/db/snapshots (kubeadm: /var/lib/etcd-snapshots, custom: none)',
    help: 'Folder of the snapshots; a folder that is named here must exist',
    section: 'Snapshot',
    commands: every,
  },
  {
    key: 'compress',
    flag: 'snapshot-compress',
    alias: 'etcd-snapshot-compress',
    type: 'boolean',
    help: 'Write a .zip',
    section: 'Snapshot',
    commands: saving,
  },
  ...restoreOptions,
  ...s3Options,
  {
    key: 'etcdServers',
    flag: 'etcd-servers',
    type: 'list',
    default: 'https://127.0.0.1:2379',
    help: 'Client addresses of the etcd member, separated by commas; the first one is used',
    section: 'etcd',
    commands: [...saving, 'restore'],
  },
  {
    key: 'etcdCaFile',
    flag: 'etcd-cafile',
    type: 'string',
    default: "the distribution's",
    help: 'CA of the certificate of etcd',
    section: 'etcd',
    commands: saving,
  },
  {
    key: 'etcdCertFile',
    flag: 'etcd-certfile',
    type: 'string',
    default: "the distribution's",
    help: 'Client certificate to show to etcd',
    section: 'etcd',
    commands: saving,
  },
  {
    key: 'etcdKeyFile',
    flag: 'etcd-keyfile',
    type: 'string',
    default: "the distribution's",
    help: 'Key of the client certificate',
    section: 'etcd',
    commands: saving,
  },
  {
    key: 'distribution',
    flag: 'distribution',
    type: 'string',
    default: 'what is found on this node',
    help: 'k3s, rke2, kubeadm or custom: picks paths and certificates',
    section: 'General',
    commands: every,
  },
  {
    key: 'dataDir',
    flag: 'data-dir',
    short: 'd',
    type: 'string',
    default: '/var/lib/rancher/k3s (rke2: /var/lib/rancher/rke2)',
    help: 'Data folder of K3s or RKE2',
    section: 'General',
    commands: every,
  },
  {
    key: 'nodeName',
    flag: 'node-name',
    env: ['K3S_NODE_NAME', 'NODE_NAME'],
    type: 'string',
    default: 'the host name',
    help: 'Kubernetes name of this node',
    section: 'General',
    commands: every,
  },
  {
    key: 'kubeconfig',
    flag: 'kubeconfig',
    env: ['KUBECONFIG'],
    type: 'string',
    default: "the distribution's, if it exists",
    help: 'Where to publish ETCDSnapshotFile resources, and to read --s3-config-secret from; several files with : between them, as for kubectl',
    section: 'General',
    commands: every,
  },
  {
    key: 'output',
    flag: 'output',
    short: 'o',
    type: 'string',
    default: 'table',
    help: 'table, json or yaml',
    section: 'General',
    commands: ['ls', 'verify'],
  },
  { key: 'debug', flag: 'debug', type: 'boolean', help: 'Tell more', section: 'General', commands: every },
];

/** What may be written for a command. */
export const commandWords: Readonly<Record<string, CommandName>> = {
  save: 'save',
  ls: 'ls',
  list: 'ls',
  l: 'ls',
  verify: 'verify',
  restore: 'restore',
  server: 'restore',
  operator: 'operator',
};

/** The row of a long flag in either spelling, or of a one-letter flag. */
export function optionOfFlag(flag: string): Option | undefined {
  return options.find((option) => option.flag === flag || option.alias === flag || option.short === flag);
}
