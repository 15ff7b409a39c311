import type { ErrorCode } from '../errors.ts';

/** What can be looked at, and can be at fault. */
type Place = 'dns' | 'tcp' | 'proxy' | 'tls' | 'clock' | 'keys' | 'bucket' | 'lifecycle';

/** What `s3 check` looks at: first the way there, then the bucket, then what is done in it. */
export type CheckStep =
  | Place
  | 'object lock'
  | 'unfinished uploads'
  | 'put'
  | 'multipart'
  | 'list'
  | 'head'
  | 'ranged get'
  | 'delete';

/** Where the fault lies, as a stable word that programs may act on. */
export type CheckCause =
  | Place
  | 'signature'
  | 'region'
  | 'path-style'
  | 'checksums'
  | 'missing-right'
  | 'object-lock'
  | 'object-settings'
  | 'timeout'
  | 'server';

/** One certificate of a chain, the server's own first. */
export interface ShownCertificate {
  readonly subject: string;
  readonly issuer: string;
  /** RFC 3339, UTC. */
  readonly from: string;
  readonly until: string;
  /** Host names and addresses that it is for. */
  readonly names: string;
}

/** What one step has seen. */
export interface Finding {
  /** For people: what was seen, what is wrong, or why it was not tried. One line. */
  readonly says: string;
  /** What the reader can do about it. */
  readonly cure?: string;
  /** Of `clock`: by how many seconds this node is ahead of the server. */
  readonly seconds?: number;
  /** Of `tls`. */
  readonly chain?: readonly ShownCertificate[];
}

export interface CheckedStep extends Finding {
  readonly step: CheckStep;
  /** `warn` works today and will surprise later; `skip` was not tried. */
  readonly outcome: 'pass' | 'warn' | 'fail' | 'skip';
  readonly cause?: CheckCause;
  readonly code?: ErrorCode;
}

/** What a store's doctor has found. */
export interface StoreCheck {
  readonly target: CheckTarget;
  readonly steps: readonly CheckedStep[];
  /** What could not be removed again, each with the reason. */
  readonly left: readonly string[];
  /** The least that the keys must be allowed, as a policy in Amazon's language. */
  readonly policy: AccessPolicy;
}

export interface AccessPolicy {
  readonly Version: '2012-10-17';
  readonly Statement: readonly PolicyStatement[];
}

export interface PolicyStatement {
  readonly Sid: string;
  readonly Effect: 'Allow';
  readonly Action: readonly string[];
  readonly Resource: string;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface CheckTarget {
  /** `https://host[:port]` */
  readonly endpoint: string;
  readonly bucket: string;
  readonly folder: string;
  readonly region: string;
  readonly addressing: 'path' | 'dns';
  /** `host:port`; undefined: straight. */
  readonly proxy: string | undefined;
}

/** Whether nothing has failed. */
export function isSound({ steps }: StoreCheck): boolean {
  return steps.every(({ outcome }) => outcome !== 'fail');
}

/** As JSON, a line for each statement. */
export function formatPolicy({ Version, Statement }: AccessPolicy): string {
  const statements = Statement.map((statement) => `    ${JSON.stringify(statement)}`).join(',\n');
  return `{\n  "Version": ${JSON.stringify(Version)},\n  "Statement": [\n${statements}\n  ]\n}`;
}
