import { randomBytes } from 'node:crypto';
import { SnapshotError } from '../errors.ts';
import { bareEtag, type ObjectHead } from './s3-list.ts';
import { fromUserMetadata } from './s3-metadata.ts';

/**
 * Key of the user metadata that every upload gives its object, with 32 hex digits of chance: names hold node and second, so
 * another cluster, or K3s beside us, may make an object of the same name, and only this tells the one from the other.
 */
export const UPLOAD_MARK = 'etcd-snapshot-upload';

const SHARED = 'Give each cluster that shares the bucket a folder of its own (--s3-folder), then save again.';

/** User metadata with a mark of its own. */
export function withMark(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return { ...metadata, [UPLOAD_MARK]: randomBytes(16).toString('hex') };
}

/** What an upload has sent, and how its object is known again. */
export interface Sent {
  readonly size: number;
  /** User metadata, mark included. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The ETag that our own MD5 sums give, where there are such sums. */
  readonly ownEtag: string | undefined;
  /** The ETag that S3 has answered with. */
  readonly toldEtag: string | undefined;
}

/** `unknown`: nothing in the object says whose it is, for not every server keeps user metadata. */
export type Owner = 'upload' | 'other' | 'unknown';

/** Who has made an object. */
export function ownerOf({ metadata }: Sent, head: ObjectHead): Owner {
  const mark = entryOf(head.metadata, UPLOAD_MARK);
  if (mark !== undefined) return mark === entryOf(metadata, UPLOAD_MARK) ? 'upload' : 'other';
  const { nodeName, facts } = fromUserMetadata(head.metadata);
  return nodeName === undefined && facts.clusterId === undefined ? 'unknown' : 'other';
}

/**
 * Whether an object has the bytes that were sent and names the same cluster and node, or nobody, where user metadata are not kept:
 * then it does not matter which try made it.
 */
function isSameSnapshot(sent: Sent, head: ObjectHead): boolean {
  const mayBe = isOfSameNode(sent, head) || ownerOf(sent, head) === 'unknown';
  return mayBe && head.size === sent.size && hasSameSum(sent, head) === true;
}

function isOfSameNode({ metadata }: Sent, head: ObjectHead): boolean {
  const [ours, theirs] = [fromUserMetadata(metadata), fromUserMetadata(head.metadata)];
  return ours.nodeName === theirs.nodeName && ours.facts.clusterId === theirs.facts.clusterId;
}

/** What was found under the name must be what was sent. @throws SnapshotError `exists` */
export function assertOurs(sent: Sent, there: ObjectHead | undefined, doing: string): void {
  if (there === undefined || ownerOf(sent, there) === 'upload' || isSameSnapshot(sent, there)) return;
  throw nameIsTaken(doing, there, isOfSameNode(sent, there));
}

/** How an object differs from what was sent; undefined: not as far as can be told. */
export function differenceOf(sent: Sent, head: ObjectHead): string | undefined {
  if (head.size !== sent.size) return `${sent.size} bytes were sent, and ${head.size} are stored`;
  if (hasSameSum(sent, head) !== false) return undefined;
  const ours = bareEtag(sent.toldEtag ?? sent.ownEtag);
  return `the stored object is another one (ETag ${bareEtag(head.etag)} instead of ${ours})`;
}

/** Undefined when that cannot be told. */
export function hasSameSum({ ownEtag, toldEtag }: Sent, head: ObjectHead): boolean | undefined {
  if (head.etag === undefined || head.etag === '') return undefined;
  if (toldEtag !== undefined && toldEtag !== '') return sameEtag(toldEtag, head.etag);
  // That of an object which the server has encrypted may look like a sum, and is none.
  if (ownEtag === undefined || head.encryption !== undefined) return undefined;
  if (countOf(ownEtag) !== countOf(head.etag)) return undefined;
  // Amazon's formula for parts is not everybody's: that it gives another ETag says nothing.
  return sameEtag(ownEtag, head.etag) || (countOf(ownEtag) === 0 ? false : undefined);
}

/** Servers quote ETags or do not, and write sums in small or in capital letters; other ETags are taken by the letter. */
export function sameEtag(one: string, other: string): boolean {
  const plain = (etag: string) => {
    const bare = bareEtag(etag) ?? '';
    return countOf(bare) === undefined ? bare : bare.toLowerCase();
  };
  return plain(one) === plain(other);
}

/** Of how many parts an ETag is the sum: 0 for one of the whole bytes, undefined for one that is no sum. */
function countOf(etag: string): number | undefined {
  const [, count] = /^[0-9a-f]{32}(?:-(\d+))?$/i.exec(bareEtag(etag) ?? '') ?? [undefined, 'none'];
  return count === 'none' ? undefined : Number(count ?? 0);
}

function nameIsTaken(doing: string, head: ObjectHead, isOwn: boolean): SnapshotError {
  return new SnapshotError('exists', doing, {
    why: `there is an object of that name already, ${whose(head)}; it was left as it is`,
    hint: isOwn ? 'Save again: the name of the next snapshot has a later second.' : SHARED,
  });
}

/** The same, where the object may not be looked at. */
export function nameIsTakenUnseen(doing: string, besides: Error): SnapshotError {
  return new SnapshotError('exists', doing, {
    why: 'there is an object of that name already, and whose it is cannot be seen; it was left as it is',
    hint: SHARED,
    besides: [besides],
  });
}

/** Somebody has put another object in the place of ours. */
export function wasReplaced(doing: string, head: ObjectHead, difference: string): SnapshotError {
  return new SnapshotError('conflict', doing, {
    why: `${difference}: somebody has replaced what was uploaded by an object ${whose(head)}; it was left as it is`,
    hint: SHARED,
    retryable: true,
  });
}

function whose({ metadata, size, lastModified }: ObjectHead): string {
  const { nodeName, facts } = fromUserMetadata(metadata);
  const made = lastModified === undefined ? '' : `, made at ${lastModified.toISOString().slice(0, 19)}Z`;
  return `of cluster ${facts.clusterId ?? 'unknown'}, node ${nodeName ?? 'unknown'}, with ${size} bytes${made}`;
}

function entryOf(metadata: Readonly<Record<string, string>> | undefined, key: string): string | undefined {
  return Object.entries(metadata ?? {}).find(([name]) => name.toLowerCase() === key)?.[1];
}
