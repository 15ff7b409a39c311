import { inspect } from 'node:util';

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
  readonly accessKey: Redacted;
  readonly secretKey: Redacted;
  readonly bucket: string;
  readonly region: string;
  /** Without leading or trailing slash; may be empty. */
  readonly folder: string;
  /** Milliseconds; applies to each operation on its own (`k3s` does the same). */
  readonly timeoutMs: number;
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
  /** Undefined when S3 is off. */
  readonly s3: S3Settings | undefined;
  /** Path of the kubeconfig; undefined: none was found, and records are not published. */
  readonly kubeconfig: string | undefined;
  /** File that holds the server token; undefined where the distribution has none. */
  readonly tokenFile: string | undefined;
  readonly output: OutputFormat;
  readonly debug: boolean;
}
