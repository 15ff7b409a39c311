import { posix } from 'node:path';
import type { LocalPlace, S3Place } from './claim.ts';
import { type ETCDSnapshotFile, recordKeys, S3_NODE } from './etcd-snapshot-file.ts';

/** Whether a record is of one copy, whoever wrote it and however it spells where that is. */
export type Sameness = 'same' | 'perhaps' | 'other';

const PROGRAMS = ['k3s', 'rke2'] as const;

/** Whether somebody has put a hold on it, be it under the name that K3s or that RKE2 gives it. Every value but `false` holds. */
export function isHeldByAnybody({ metadata: { annotations } }: ETCDSnapshotFile): boolean {
  const values = PROGRAMS.map((program) => annotations?.[recordKeys(program).hold]);
  return values.some((value) => value !== undefined && value.toLowerCase() !== 'false');
}

/** Whether it is of an S3 copy, whichever program wrote it. */
function speaksOfS3({ spec, metadata: { labels } }: ETCDSnapshotFile): boolean {
  if (spec.s3 !== undefined || spec.location.startsWith('s3://')) return true;
  return PROGRAMS.some((program) => labels?.[recordKeys(program).storageNode] === S3_NODE);
}

/** Whether the record is of the object of that name. Two names of a server cannot be told from two servers. */
export function samenessOnS3(file: ETCDSnapshotFile, place: S3Place, name: string): Sameness {
  if (file.spec.snapshotName !== name || !speaksOfS3(file)) return 'other';
  const { location, s3 = {} } = file.spec;
  if (location === '') return withoutPlace(file);
  const key = tidy(`${place.prefix}/${name}`);
  const [, bucketThere, keyThere = ''] = /^s3:\/\/([^/]*)\/(.*)$/s.exec(location) ?? [];
  const located = bucketThere === place.bucket && tidy(keyThere) === key;
  const claimed =
    (s3.bucket ?? bucketThere) === place.bucket &&
    (s3.prefix === undefined ? located : tidy(`${s3.prefix}/${name}`) === key);
  if (!located && !claimed) return 'other';
  const server = s3.endpoint === undefined ? undefined : serverOf(s3.endpoint);
  return located && claimed && server === serverOf(place.endpoint) ? 'same' : 'perhaps';
}

/** What stands for one file or folder under all its paths; undefined when there is none. @throws system errors */
export type Identify = (path: string) => Promise<string | undefined>;

/**
 * Whether the record is of the file of that name in the folder. Paths lead elsewhere through links and mounts, and in the
 * container of another program, or on another node, they say nothing about here: then it may be.
 */
export async function samenessOnDisk(
  file: ETCDSnapshotFile,
  { nodeName, place, identify }: { nodeName: string; place: LocalPlace; identify: Identify },
  name: string,
): Promise<Sameness> {
  const { location, snapshotName } = file.spec;
  if (snapshotName !== name || speaksOfS3(file)) return 'other';
  if (location === '') return withoutPlace(file);
  const path = posix.normalize(location.replace(/^file:\/\//, ''));
  if (posix.basename(path) !== name) return 'other';
  // Folders may be shared, and nodes go by several names.
  if (file.spec.nodeName !== nodeName) return 'perhaps';
  const folder = posix.dirname(path);
  if (folder === place.dir) return 'same';
  const [there, here] = await Promise.all([identify(folder), identify(place.dir)]);
  if (there !== undefined && there === here) return 'same';
  return (await identify(path)) === undefined ? 'perhaps' : 'other';
}

/** A save that failed has a record, and no copy. */
function withoutPlace({ status }: ETCDSnapshotFile): Sameness {
  return status?.error === undefined ? 'perhaps' : 'other';
}

function tidy(key: string): string {
  return key.replaceAll(/\/+/g, '/').replace(/^\//, '');
}

/** Host and port of an endpoint, however it is written. Nobody has two of them on both of the usual ports. */
function serverOf(endpoint: string): string {
  const [, host = ''] = /^(?:[a-z]+:\/\/)?(?:[^/@]*@)?([^/?#]*)/i.exec(endpoint.trim()) ?? [];
  return host
    .toLowerCase()
    .replace(/:(443|80)$/, '')
    .replace(/\.$/, '');
}
