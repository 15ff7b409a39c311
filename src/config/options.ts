export type CommandName = 'save' | 'ls';

/** One setting: the flag, its environment and documentation all come from this row. */
export interface Option {
  /** Name of the setting in code. */
  readonly key: OptionKey;
  /** Long flag without dashes. */
  readonly flag: string;
  /** The same flag as `k3s server` spells it; also its key in the config file and in the S3 Secret. */
  readonly alias?: string;
  readonly short?: string;
  /** Environment variables, the first that is set counts. */
  readonly env?: readonly string[];
  readonly type: 'string' | 'boolean' | 'duration' | 'list';
  /** Shown in the help. */
  readonly default?: string;
  /** Never shown in a message. */
  readonly secret?: boolean;
  readonly help: string;
  readonly section: 'Snapshot' | 'S3' | 'etcd' | 'General';
  readonly commands: readonly CommandName[];
}

export type OptionKey =
  | 'name'
  | 'dir'
  | 'dataDir'
  | 'nodeName'
  | 'compress'
  | 's3'
  | 's3Endpoint'
  | 's3EndpointCA'
  | 's3SkipSSLVerify'
  | 's3AccessKey'
  | 's3SecretKey'
  | 's3Bucket'
  | 's3Region'
  | 's3Folder'
  | 's3Insecure'
  | 's3Timeout'
  | 'etcdServers'
  | 'etcdCaFile'
  | 'etcdCertFile'
  | 'etcdKeyFile'
  | 'distribution'
  | 'kubeconfig'
  | 'output'
  | 'debug';

const both = ['save', 'ls'] as const;
const save = ['save'] as const;

function s3(name: string, key: OptionKey, rest: Pick<Option, 'type' | 'help'> & Partial<Option>): Option {
  return { key, flag: name, alias: `etcd-${name}`, section: 'S3', commands: both, ...rest };
}

/** The option table, in the order of the help. */
export const options: readonly Option[] = [
  {
    key: 'name',
    flag: 'name',
    type: 'string',
    default: 'on-demand',
    help: 'Base name; the file is called <name>-<node>-<unix seconds>',
    section: 'Snapshot',
    commands: save,
  },
  {
    key: 'dir',
    flag: 'dir',
    alias: 'etcd-snapshot-dir',
    type: 'string',
    default: '<data-dir>/server/db/snapshots (kubeadm: /var/lib/etcd-snapshots, custom: none)',
    help: 'Folder of the snapshots; a folder that is named here must exist',
    section: 'Snapshot',
    commands: both,
  },
  {
    key: 'compress',
    flag: 'snapshot-compress',
    alias: 'etcd-snapshot-compress',
    type: 'boolean',
    help: 'Write a .zip',
    section: 'Snapshot',
    commands: save,
  },
  s3('s3', 's3', { type: 'boolean', help: 'Keep a copy on S3, or list what is there' }),
  s3('s3-endpoint', 's3Endpoint', {
    type: 'string',
    default: 's3.amazonaws.com',
    help: 'S3 server, as host[:port]',
  }),
  s3('s3-endpoint-ca', 's3EndpointCA', {
    type: 'string',
    help: 'CA of the S3 server: files or base64 of PEM, separated by spaces',
  }),
  s3('s3-skip-ssl-verify', 's3SkipSSLVerify', {
    type: 'boolean',
    help: 'Do not verify the certificate of the S3 server',
  }),
  s3('s3-access-key', 's3AccessKey', {
    type: 'string',
    env: ['AWS_ACCESS_KEY_ID'],
    secret: true,
    help: 'Access key; better given in the environment',
  }),
  s3('s3-secret-key', 's3SecretKey', {
    type: 'string',
    env: ['AWS_SECRET_ACCESS_KEY'],
    secret: true,
    help: 'Secret key; better given in the environment',
  }),
  s3('s3-bucket', 's3Bucket', { type: 'string', help: 'Bucket; it must exist' }),
  s3('s3-region', 's3Region', { type: 'string', default: 'us-east-1', help: 'Region of the bucket' }),
  s3('s3-folder', 's3Folder', { type: 'string', help: 'Folder in the bucket' }),
  s3('s3-insecure', 's3Insecure', { type: 'boolean', help: 'Plain http instead of https' }),
  s3('s3-timeout', 's3Timeout', {
    type: 'duration',
    default: '5m0s',
    help: 'Time limit of each operation on S3',
  }),
  {
    key: 'etcdServers',
    flag: 'etcd-servers',
    type: 'list',
    default: 'https://127.0.0.1:2379',
    help: 'Client addresses of the etcd member, separated by commas; the first one is used',
    section: 'etcd',
    commands: save,
  },
  {
    key: 'etcdCaFile',
    flag: 'etcd-cafile',
    type: 'string',
    default: "the distribution's",
    help: 'CA of the certificate of etcd',
    section: 'etcd',
    commands: save,
  },
  {
    key: 'etcdCertFile',
    flag: 'etcd-certfile',
    type: 'string',
    default: "the distribution's",
    help: 'Client certificate to show to etcd',
    section: 'etcd',
    commands: save,
  },
  {
    key: 'etcdKeyFile',
    flag: 'etcd-keyfile',
    type: 'string',
    default: "the distribution's",
    help: 'Key of the client certificate',
    section: 'etcd',
    commands: save,
  },
  {
    key: 'distribution',
    flag: 'distribution',
    type: 'string',
    default: 'what is found on this node',
    help: 'k3s, rke2, kubeadm or custom: picks paths and certificates',
    section: 'General',
    commands: both,
  },
  {
    key: 'dataDir',
    flag: 'data-dir',
    short: 'd',
    type: 'string',
    default: '/var/lib/rancher/k3s (rke2: /var/lib/rancher/rke2)',
    help: 'Data folder of K3s or RKE2',
    section: 'General',
    commands: both,
  },
  {
    key: 'nodeName',
    flag: 'node-name',
    env: ['K3S_NODE_NAME', 'NODE_NAME'],
    type: 'string',
    default: 'the host name',
    help: 'Kubernetes name of this node',
    section: 'General',
    commands: both,
  },
  {
    key: 'kubeconfig',
    flag: 'kubeconfig',
    env: ['KUBECONFIG'],
    type: 'string',
    default: "the distribution's, if it exists",
    help: 'Where to publish ETCDSnapshotFile resources; several files with : between them, as for kubectl',
    section: 'General',
    commands: save,
  },
  {
    key: 'output',
    flag: 'output',
    short: 'o',
    type: 'string',
    default: 'table',
    help: 'table, json or yaml',
    section: 'General',
    commands: ['ls'],
  },
  { key: 'debug', flag: 'debug', type: 'boolean', help: 'Tell more', section: 'General', commands: both },
];

/** What may be written for a command. */
export const commandWords: Readonly<Record<string, CommandName>> = {
  save: 'save',
  ls: 'ls',
  list: 'ls',
  l: 'ls',
};

/** The row of a long flag in either spelling, or of a one-letter flag. */
export function optionOfFlag(flag: string): Option | undefined {
  return options.find((option) => option.flag === flag || option.alias === flag || option.short === flag);
}
