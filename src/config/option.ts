export type CommandName = 'save' | 'ls' | 'delete' | 'prune' | 'verify' | 'restore' | 'operator' | 's3';

/** One setting: the flag, its environment and documentation all come from this row. */
export interface Option {
  /** Name of the setting in code. */
  readonly key: OptionKey;
  /** Long flag without dashes. */
  readonly flag: string;
  /** The same flag as `k3s server` spells it; also its key in the config file and, of the section S3, in the S3 Secret. */
  readonly alias?: string;
  readonly short?: string;
  /** Environment variables, the first that is set counts. */
  readonly env?: readonly string[];
  readonly type: 'string' | 'boolean' | 'duration' | 'list' | 'count' | 'choice';
  /** A `count` below 0 means the same as 0, as k3s has it. */
  readonly mayBeNegative?: true;
  /** What a `choice` may be, in any case of letters. */
  readonly choices?: readonly string[];
  /** What shells complete the value with. */
  readonly path?: 'file' | 'folder';
  /** Why it does nothing; on the command line that is worth a warning. */
  readonly idle?: string;
  /** Shown in the help. */
  readonly default?: string;
  /** Never shown in a message. */
  readonly secret?: boolean;
  readonly help: string;
  readonly section: 'Schedule' | 'Snapshot' | 'Restore' | 'S3' | 'etcd' | 'Operator' | 'General';
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
  | 's3ConfigSecret'
  | 's3Proxy'
  | 's3SessionToken'
  | 's3BucketLookupType'
  | 's3Retention'
  | 's3StallTimeout'
  | 's3Checksums'
  | 's3Sse'
  | 's3SseKmsKeyId'
  | 's3SseCKey'
  | 's3StorageClass'
  | 's3Acl'
  | 's3Tags'
  | 'etcdServers'
  | 'etcdCaFile'
  | 'etcdCertFile'
  | 'etcdKeyFile'
  | 'distribution'
  | 'kubeconfig'
  | 'scheduleCron'
  | 'retention'
  | 'disableSnapshots'
  | 'reconcileInterval'
  | 'deletionPolicy'
  | 'clusterName'
  | 'listenAddress'
  | 'gracePeriod'
  | 'tempDir'
  | 'etcdTools'
  | 'yes'
  | 'rejoin'
  | 'rollback'
  | 'memberName'
  | 'peerUrl'
  | 'bumpRevision'
  | 'token'
  | 'serverUrl'
  | 'allowOtherCluster'
  | 'allowRunningPeers'
  | 'clusterReset'
  | 'clusterResetRestorePath'
  | 'clusterInit'
  | 'manifests'
  | 'initialCluster'
  | 'printCommands'
  | 'uninstall'
  | 'output'
  | 'dryRun'
  | 'allNodes'
  | 'config'
  | 'etcdServer'
  | 'etcdToken'
  | 'logFile'
  | 'alsoLogToStderr'
  | 'quiet'
  | 'progress'
  | 'debug';

/** How problems speak of settings: by flag, or by the key of a Secret. */
export interface Wording {
  readonly name: (key: OptionKey) => string;
  /** A wrong value, quoted, or what stands for it: no value of a Secret is ever shown. */
  readonly shown: (value: string) => string;
}

/**
 * Whether what config files and the environment say of a setting counts for a command. Those of S3 do for all of them: whether
 * the Secret or the settings count depends on each, and must not differ between commands.
 */
export function countsFor(command: CommandName, option: Option): boolean {
  return option.section === 'S3' || option.commands.includes(command);
}
