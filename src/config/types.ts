import { inspect } from 'node:util';
import type { OperatorSettings } from './operator-settings.ts';
import type { RestoreOrder } from './restore-settings.ts';

/** A value that no log line, error or dump shows. Only `reveal` gives it back. */
export class Redacted {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[redacted]';
  }

  toJSON(): string {
    return '[redacted]';
  }

  [inspect.custom](): string {
    return '[redacted]';
  }
}

/** Which system etcd belongs to; it picks paths, certificates and the prefix of labels. */
export type Distribution = 'k3s' | 'rke2' | 'kubeadm' | 'custom';

/** How to reach one etcd member. */
export interface EtcdSettings {
  /** Candidates in order of preference; each `https://host:port` or `http://host:port`. The first one is used. */
  readonly endpoints: readonly string[];
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

export interface S3Settings {
  /** `host[:port]`, no scheme. */
  readonly endpoint: string;
  /** CA bundles in the flag's format: a space-separated list of base64 PEM bundles or file paths; may be empty. */
  readonly endpointCA: string;
  readonly skipSSLVerify: boolean;
  /** Plain http. */
  readonly insecure: boolean;
  /** Undefined: whatever the AWS SDK finds (shared file, web identity, pod identity, instance). */
  readonly keys: S3Keys | undefined;
  readonly bucket: string;
  readonly region: string;
  /** Without leading or trailing slash; may be empty. */
  readonly folder: string;
  /** Milliseconds; applies to each operation on its own (`k3s` does the same). */
  readonly timeoutMs: number;
  /** Milliseconds without a byte on a connection that is in use. */
  readonly stallMs: number;
  /** `environment` is HTTP_PROXY, HTTPS_PROXY and NO_PROXY; anything else is the URL, which may hold a password. */
  readonly proxy: 'environment' | 'none' | Redacted;
  readonly lookup: 'auto' | 'dns' | 'path';
  readonly checksums: 'when-required' | 'when-supported';
  readonly encryption: S3Encryption;
  readonly objects: S3ObjectSettings;
}

/** Keys that were given, in contrast to those that the AWS SDK finds by itself. */
export interface S3Keys {
  readonly accessKey: Redacted;
  readonly secretKey: Redacted;
  readonly sessionToken: Redacted | undefined;
}

/** Encryption by the server; `none` leaves it to the settings of the bucket. */
export type S3Encryption =
  | { readonly kind: 'none' | 'sse-s3' }
  | { readonly kind: 'sse-kms'; readonly keyId: string | undefined }
  /** The key is base64 of 32 bytes. */
  | { readonly kind: 'sse-c'; readonly key: Redacted };

/** What an object gets when it is made; undefined leaves it to the bucket. */
export interface S3ObjectSettings {
  readonly storageClass: string | undefined;
  readonly acl: 'private' | 'bucket-owner-read' | 'bucket-owner-full-control' | undefined;
  readonly tags: ReadonlyMap<string, string>;
  /** Until when it is locked, in place of the bucket's own rule. No setting: what is made only to be deleted again needs it. */
  readonly lockedUntil?: Date;
}

/** Where the settings of S3 come from. */
export type S3Source =
  | { readonly kind: 'off' }
  | { readonly kind: 'settings'; readonly settings: S3Settings; readonly ignored: IgnoredSecret | undefined }
  /** A Secret in kube-system, to be read anew for each operation. */
  | { readonly kind: 'secret'; readonly name: string };

/** A Secret that was named and is not read, for other settings of S3 were given. */
export interface IgnoredSecret {
  readonly name: string;
  /** The flags and variables that were. */
  readonly because: readonly string[];
}

export type OutputFormat = 'table' | 'json' | 'yaml';

/** Everything a command needs to know, resolved and checked. */
export interface Config {
  readonly distribution: Distribution;
  readonly nodeName: string;
  readonly dataDir: string;
  readonly snapshotDir: string;
  /** A default directory is made when it is missing; one that the user named must exist. */
  readonly snapshotDirIsDefault: boolean;
  /** Base name of snapshots: `<base>-<node>-<unix seconds>`. */
  readonly snapshotName: string;
  readonly compress: boolean;
  readonly etcd: EtcdSettings;
  readonly s3: S3Source;
  /** Whether it was switched on or off on the command line, and not by a file. */
  readonly s3Typed: boolean;
  /** Snapshots of each node that pruning leaves on S3; undefined: nothing was said. It beats that of the Secret. */
  readonly s3Retention: number | undefined;
  /** Path of the kubeconfig; undefined: none was found, and records are not published. */
  readonly kubeconfig: string | undefined;
  /** File that holds the server token; undefined where the distribution has none. */
  readonly tokenFile: string | undefined;
  /** Undefined for every other command. */
  readonly operator: OperatorSettings | undefined;
  /** Undefined for every other command. */
  readonly restore: RestoreOrder | undefined;
  readonly output: OutputFormat;
  /** Of throw-away restores. */
  readonly tempDir: string;
  /** Folder of etcdutl and etcd; undefined: wherever they are found. */
  readonly etcdTools: string | undefined;
  /** Snapshots that stay on the disk of this node when it is pruned; below 1: all. */
  readonly retention: number;
  /** The arguments that are no flags: names of snapshots. */
  readonly names: readonly string[];
  readonly dryRun: boolean;
  /** List what the records in the cluster tell of, instead of looking into folder and bucket. */
  readonly allNodes: boolean;
  /** Keys of config files that are no settings of ours, in a sentence. */
  readonly skippedKeys: string | undefined;
  /** What is odd about the settings and does no harm by itself. */
  readonly warnings: readonly Error[];
  readonly quiet: boolean;
  readonly progress: ProgressFormat;
  readonly debug: boolean;
}

export type ProgressFormat = 'auto' | 'json' | 'none';
