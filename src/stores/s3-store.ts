import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import pMap from 'p-map';
import type { S3Settings } from '../config/types.ts';
import { asError, isSnapshotError } from '../errors.ts';
import { assertSnapshotName, looksLikeSnapshot } from '../snapshot/naming.ts';
import type {
  Clock,
  Recall,
  SnapshotDownloader,
  SnapshotStore,
  SnapshotUpload,
  StoredSnapshot,
} from '../snapshot/ports.ts';
import type { Program, Snapshot } from '../snapshot/snapshot.ts';
import { md5Of } from './md5.ts';
import { connectS3, type S3Connection, type S3Tuning } from './s3-client.ts';
import { compareStored } from './s3-compare.ts';
import { openObject } from './s3-download.ts';
import { fetchObject } from './s3-fetch.ts';
import {
  folderPrefix,
  nameOfKey,
  s3Location,
  s3Url,
  sidecarKey,
  sidecarPrefix,
  snapshotKey,
} from './s3-keys.ts';
import { assertBucket, bareEtag, headObject, listing, listObjects, toSnapshot } from './s3-list.ts';
import { parseSidecar, toUserMetadata } from './s3-metadata.ts';
import { creationOf } from './s3-object-parameters.ts';
import type { OperationClock } from './s3-operation-clock.ts';
import { DEFAULT_PART_SIZE, partSizeFor } from './s3-parts.ts';
import { readCall } from './s3-read.ts';
import { removeSnapshot } from './s3-remove.ts';
import { sweepUploads } from './s3-sweep.ts';
import { uploadGrowing } from './s3-upload.ts';

export interface S3StoreOptions extends S3Tuning {
  /** Prefix of the objects' user metadata. */
  readonly program: Program;
  readonly nodeName: string;
  /** Folder for notes of uploads in progress: the snapshot folder. Left out: parts of a killed process wait a day. */
  readonly journalDir?: string;
  readonly clock?: Clock;
  /** Bytes per part. S3's least is 5 MiB. */
  readonly partSize?: number;
  /** Parts in flight. */
  readonly concurrency?: number;
}

const HEADS_AT_ONCE = 8;

/**
 * Snapshots as objects `<folder>/<name>` of one bucket, laid out as k3s does. Each method may take `settings.timeoutMs`;
 * `list` takes it for each object that it looks up, `put` for each part and once more to finish: a snapshot that still grows is waited for as long as it takes,
 * and a slow line that moves is not cut. Whatever takes its time, no byte for `settings.stallMs` ends a request.
 * Dispose of it to end its connections.
 * @throws SnapshotError `usage` | `io` when the CA bundle or the proxy of the settings is wrong
 */
export function createS3Store(
  settings: S3Settings,
  options: S3StoreOptions,
): SnapshotStore & SnapshotDownloader & Disposable {
  const s3 = connectS3(settings, options.clock ?? { now: () => new Date() }, options);
  const { nodeName, journalDir } = options;
  const url = (name: string) => s3Url(settings, snapshotKey(settings, name));

  return {
    kind: 's3',
    async put(upload, signal) {
      assertSnapshotName(upload.name);
      const doing = `Cannot upload ${url(upload.name)}`;
      return s3.timedByClock(doing, signal, (inner, time) => put(s3, upload, options, doing, inner, time));
    },
    list: (signal, recall) =>
      s3.timedByClock(listing(settings), signal, (inner, time) => list(s3, inner, time, recall)),
    async stat(name, signal) {
      assertSnapshotName(name);
      const doing = `Cannot look up ${url(name)}`;
      return s3.timed(doing, signal, async (inner) => {
        const head = await headObject(s3, snapshotKey(settings, name), doing, inner);
        if (head === undefined) await assertBucket(s3, doing, inner);
        if (head === undefined || !looksLikeSnapshot(name, head.size)) return undefined;
        return toSnapshot(settings, name, head, await readSidecar(s3, name, inner));
      });
    },
    async open(name, signal, range) {
      assertSnapshotName(name);
      return openObject(s3, snapshotKey(settings, name), `Cannot read ${url(name)}`, signal, range);
    },
    async download(wanted, signal) {
      const { name } = wanted;
      assertSnapshotName(name);
      const { head, ...fetched } = await fetchObject(s3, wanted, `Cannot download ${url(name)}`, signal);
      const warnings = [...fetched.warnings];
      const sidecar = await readSidecar(s3, name, signal).catch((error: unknown) => {
        warnings.push(asError(error));
        return undefined;
      });
      return { ...fetched, snapshot: toSnapshot(settings, name, head, sidecar), warnings };
    },
    async remove(name, signal) {
      assertSnapshotName(name);
      const doing = `Cannot delete ${url(name)}`;
      return s3.timed(doing, signal, (inner) => removeSnapshot(s3, name, doing, inner));
    },
    sweep: (signal) =>
      s3.timed(`Cannot tidy up ${url('')}`, signal, (inner) =>
        sweepUploads(s3, { nodeName, journalDir }, inner),
      ),
    [Symbol.dispose]: () => s3.close(),
  };
}

async function put(
  s3: S3Connection,
  upload: SnapshotUpload,
  options: S3StoreOptions,
  doing: string,
  signal: AbortSignal,
  time: OperationClock,
): Promise<StoredSnapshot> {
  const { settings } = s3;
  const key = snapshotKey(settings, upload.name);
  const metadata = async () => toUserMetadata(options.program, upload.nodeName, await upload.facts);
  const uploaded = await uploadGrowing(
    s3,
    upload,
    {
      key,
      doing,
      contentType: upload.name.endsWith('.zip') ? 'application/zip' : 'application/octet-stream',
      metadata,
      partSize: partSizeFor(upload.bytes.expectedSize, options.partSize ?? DEFAULT_PART_SIZE),
      concurrency: options.concurrency ?? 2,
      journalDir: options.journalDir,
      time,
    },
    signal,
  );
  const stored = await compareStored(s3, key, uploaded, doing, signal);
  const facts = await upload.facts;
  const sidecar = facts.metadata;
  const warnings = [...uploaded.warnings];

  if (sidecar !== undefined && Object.keys(sidecar).length > 0) {
    const body = Buffer.from(JSON.stringify(sidecar));
    const input = {
      ...creationOf(settings),
      Bucket: settings.bucket,
      Key: sidecarKey(settings, upload.name),
      Body: body,
      ContentMD5: md5Of(body).toString('base64'),
      ContentType: 'application/json',
      Metadata: await metadata(),
    };
    const about = `Cannot upload the metadata of ${s3Url(settings, key)}`;
    await s3
      .call('PutObject', about, signal, (client, call) => client.send(new PutObjectCommand(input), call))
      .catch((error: unknown) => warnings.push(asError(error)));
  }
  const { name, nodeName, createdAt, compressed } = upload;
  const location = s3Location(settings, name);
  const etag = bareEtag(stored.etag ?? uploaded.toldEtag);
  return {
    snapshot: {
      ...facts,
      name,
      nodeName,
      createdAt,
      compressed,
      size: uploaded.size,
      location,
      ...(etag === undefined ? {} : { etag }),
    },
    warnings,
  };
}

async function list(
  s3: S3Connection,
  signal: AbortSignal,
  time: OperationClock,
  recall: Recall = () => undefined,
): Promise<readonly Snapshot[]> {
  const { settings } = s3;
  const doing = listing(settings);
  const prefix = folderPrefix(settings);
  time.start();
  const { objects, folders } = await listObjects(s3, prefix, doing, signal);
  const below = sidecarPrefix(settings);
  // Most snapshots have no sidecar, and the listing has just told.
  const sidecars = folders.has(below) ? (await listObjects(s3, below, doing, signal)).objects : undefined;
  const hasSidecar = (name: string) => sidecars?.has(sidecarKey(settings, name)) === true;
  const entries = [...objects].flatMap(([key, object]) => {
    const name = nameOfKey(prefix, key);
    return name !== undefined && looksLikeSnapshot(name, object.size) ? [{ name, ...object }] : [];
  });
  const found = await pMap(
    entries,
    async (entry) => {
      const { name } = entry;
      const known = recall(entry);
      const sidecarCame = known?.metadata === undefined && hasSidecar(name);
      if (known !== undefined && !sidecarCame) return [known];
      const head = await headObject(s3, snapshotKey(settings, name), doing, signal);
      // Deleted since it was listed.
      if (head === undefined) return [];
      const sidecar = hasSidecar(name) ? await readSidecar(s3, name, signal) : undefined;
      // A folder of many thousands is one listing, and as many steps as there are to be looked up.
      time.step();
      const snapshot = toSnapshot(settings, name, head, sidecar);
      recall.lookedUp?.(snapshot);
      return [snapshot];
    },
    { concurrency: HEADS_AT_ONCE },
  );
  return found.flat();
}

async function readSidecar(
  s3: S3Connection,
  name: string,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>> | undefined> {
  const input = { Bucket: s3.settings.bucket, Key: sidecarKey(s3.settings, name) };
  const doing = `Cannot read the metadata of ${s3Url(s3.settings, snapshotKey(s3.settings, name))}`;
  try {
    const text = await readCall(s3, 'GetObject', doing, signal, async (client, options, customerKey) => {
      const { Body } = await client.send(new GetObjectCommand({ ...customerKey, ...input }), options);
      return Body?.transformToString();
    });
    return text === undefined ? undefined : parseSidecar(text);
  } catch (error) {
    if (isSnapshotError(error, 'not-found')) return undefined;
    throw error;
  }
}
