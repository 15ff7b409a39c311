import { setImmediate } from 'node:timers/promises';
import { abortError, asError, isSnapshotError } from '../errors.ts';
import { type BoltBucket, BoltFile, damagedDatabase } from './bolt-file.ts';

/** Entries between two looks at the signal. */
const BREATH = 10_000;
const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
const KUBE_SYSTEM = '/registry/namespaces/kube-system';
const BOOTSTRAP = '/bootstrap/';

export interface DatabaseMember {
  readonly id: string;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
}

/** What a database of etcd says of itself, read without etcd. */
export interface DatabaseFacts {
  /** The latest one. */
  readonly revision: number;
  /** Changes that are kept: each key counts once for every revision that was not compacted. */
  readonly records: number;
  readonly members: readonly DatabaseMember[];
  /** `3.5.0`, `3.6.0`; undefined before etcd 3.5 or in a database that has just been restored. */
  readonly clusterVersion: string | undefined;
  /** Written by etcd 3.6 and later. */
  readonly storageVersion: string | undefined;
  /** UID of the namespace kube-system, which names a Kubernetes cluster. */
  readonly clusterId: string | undefined;
  /** Alarms that are raised: `NOSPACE`, `CORRUPT`. */
  readonly alarms: readonly string[];
  /** Bootstrap data of K3s and RKE2: text by the token hash that ends their key. */
  readonly bootstrap: ReadonlyMap<string, string>;
}

/** Reads every key of the database, and few values. @throws SnapshotError `corrupt` | `aborted`, and system errors */
export async function readDatabase(path: string, signal: AbortSignal): Promise<DatabaseFacts> {
  try {
    using bolt = BoltFile.open(path);
    const keys = bolt.bucket('key');
    if (keys === undefined) throw damagedDatabase(path, 'it has no bucket of keys');
    const { revision, records, values } = await readKeys(bolt, keys, signal);
    const bootstrap = [...values].flatMap(([key, value]) =>
      key.startsWith(BOOTSTRAP) ? [[key.slice(BOOTSTRAP.length), value.toString()] as const] : [],
    );
    return {
      revision,
      records,
      members: readMembers(bolt),
      alarms: readAlarms(bolt),
      clusterVersion: textOf(bolt, 'cluster', 'clusterVersion'),
      storageVersion: textOf(bolt, 'meta', 'storageVersion'),
      clusterId: UUID.exec(values.get(KUBE_SYSTEM)?.toString('latin1') ?? '')?.[0],
      bootstrap: new Map(bootstrap),
    };
  } catch (error) {
    if (isSnapshotError(error) || !(error instanceof RangeError || error instanceof SyntaxError)) throw error;
    throw damagedDatabase(path, asError(error).message, error);
  }
}

async function readKeys(bolt: BoltFile, bucket: BoltBucket, signal: AbortSignal) {
  const values = new Map<string, Buffer>();
  let revision = 0;
  let records = 0;
  for (const entry of bolt.entries(bucket)) {
    records += 1;
    if (records % BREATH === 0) {
      await setImmediate();
      if (signal.aborted) throw abortError(signal);
    }
    revision = Math.max(revision, Number(entry.key.readBigUInt64BE(0)));
    const key = keyIn(entry.value(96));
    if (key !== KUBE_SYSTEM && !key.startsWith(BOOTSTRAP)) continue;
    // A `t` behind the revision marks a deletion.
    if (entry.key.length > 17) values.delete(key);
    else values.set(key, valueIn(entry.value()));
  }
  return { revision, records, values };
}

/** The key of a KeyValue message, whose first field it is; cut off when it is long. */
function keyIn(head: Buffer): string {
  if (head[0] !== 0x0a) return '';
  const length = head[1] ?? 0;
  // Longer keys take two bytes for their length, and are none of those that are looked for.
  return length < 0x80 ? head.toString('latin1', 2, 2 + length) : '';
}

/** Field 5 of a KeyValue message. The fields before it are the key and numbers. */
function valueIn(message: Buffer): Buffer {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message.readUInt8(at);
      at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const number = varint();
    if ((tag & 7) !== 2) continue;
    if (tag >> 3 === 5) return message.subarray(at, at + number);
    at += number;
  }
  return Buffer.alloc(0);
}

function readMembers(bolt: BoltFile): DatabaseMember[] {
  const bucket = bolt.bucket('members');
  if (bucket === undefined) return [];
  const members = [...bolt.entries(bucket)].map((entry) => {
    const member: unknown = JSON.parse(entry.value().toString());
    const field = (name: string): unknown =>
      typeof member === 'object' && member !== null ? Reflect.get(member, name) : undefined;
    const urls = field('peerURLs');
    const name = field('name');
    return {
      id: entry.key.toString(),
      name: typeof name === 'string' ? name : '',
      peerUrls: Array.isArray(urls) ? urls.filter((url) => typeof url === 'string') : [],
      isLearner: field('isLearner') === true,
    };
  });
  // They lie there by their ids, which say nothing to people.
  return members.sort((one, other) => one.name.localeCompare(other.name, 'en', { numeric: true }));
}

/** Each key is a message of the id of a member (field 1) and the kind of the alarm (field 2, which is last). */
function readAlarms(bolt: BoltFile): string[] {
  const bucket = bolt.bucket('alarm');
  if (bucket === undefined) return [];
  const kinds = [...bolt.entries(bucket)].map(({ key }) => ['', 'NOSPACE', 'CORRUPT'][key.at(-1) ?? 0] ?? '');
  return [...new Set(kinds.filter((kind) => kind !== ''))].sort();
}

function textOf(bolt: BoltFile, bucketName: string, key: string): string | undefined {
  const bucket = bolt.bucket(bucketName);
  if (bucket === undefined) return undefined;
  for (const entry of bolt.entries(bucket)) {
    if (entry.key.toString() === key) return entry.value().toString();
  }
  return undefined;
}
