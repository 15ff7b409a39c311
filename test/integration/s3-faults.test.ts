import { readdir } from 'node:fs/promises';
import { inspect } from 'node:util';
import { CreateMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import { noteUpload } from '../../src/stores/s3-journal.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { runCommand, s3Env, s3Flags } from '../support/command.ts';
import { type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { GrowingBytes, MIB, sha256, someBytes } from '../support/growing-bytes.ts';
import { type S3Front, startS3Front } from '../support/s3-front.ts';
import { markOf, openUploadsOf, until } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, s3Servers, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { collect, uploadOf } from '../support/store-contract.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const HOUR = 3_600_000;
const never = new AbortController().signal;
const quick = {
  program: 'k3s',
  nodeName: 'node-1',
  partSize: 5 * MIB,
  firstRetryMs: 1,
} as const;

const isPart = (request: SeenRequest) => request.path.includes('partNumber=');
const isComplete = (request: SeenRequest) => request.method === 'POST' && request.path.includes('uploadId=');
const isBegin = (request: SeenRequest) => request.method === 'POST' && request.path.includes('uploads');

describe.each(s3Servers)('S3 store in trouble, on $kind, tls $tls,', ({ kind, tls }) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls });
    await s3.createBucket(BUCKET);
    await s3.createBucket('other');
  });
  afterAll(() => s3[Symbol.asyncDispose]());

  const through = (front: S3Front, folder: string): S3Settings => front.settings(BUCKET, folder);
  const read = async (folder: string) => {
    const store = createS3Store(s3.settings(BUCKET, folder), quick);
    return sha256(await collect(await store.open(NAME, never)));
  };
  const nothingLeft = async (folder: string) => {
    expect(await createS3Store(s3.settings(BUCKET, folder), quick).list(never)).toEqual([]);
    expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)).toEqual([]);
  };

  it.each([
    { what: 'every part refused twice with 503', matches: isPart, fault: { status: 503 }, times: 2 },
    { what: 'parts cut in the middle', matches: isPart, fault: { cutAfterRequestBytes: MIB }, times: 1 },
    { what: 'the answer to the begin lost', matches: isBegin, fault: { cutAfterResponseBytes: 0 }, times: 1 },
    {
      what: 'the answer to the end lost',
      matches: isComplete,
      fault: { cutAfterResponseBytes: 0 },
      times: 1,
    },
  ])('recovers: $what', async ({ what, matches, fault, times }) => {
    await using dir = await scratchDir();
    await using front = await startS3Front(s3);
    const seen = new Map<string, number>();
    front.setRule((request) => {
      if (!matches(request)) return undefined;
      const before = seen.get(request.path) ?? 0;
      seen.set(request.path, before + 1);
      return before < times ? fault : undefined;
    });
    const folder = what.replaceAll(' ', '-');
    const bytes = GrowingBytes.whole(someBytes(11 * MIB));
    const store = createS3Store(through(front, folder), { ...quick, journalDir: dir.path });
    await store.put(uploadOf(NAME, bytes), never);
    expect(seen.size).toBeGreaterThan(0);
    expect(await read(folder)).toBe(sha256(bytes.content));
    // An upload that was begun without an answer has no parts, and may be another cluster's until it is a day old.
    const unnamed = matches === isBegin ? 1 : 0;
    expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)).toHaveLength(unnamed);
    expect(await readdir(dir.path)).toHaveLength(unnamed);
    const clock = { now: () => new Date(Date.now() + 25 * HOUR) };
    await createS3Store(through(front, folder), { ...quick, journalDir: dir.path, clock }).sweep(never);
    expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)).toEqual([]);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('an operation that takes longer than --s3-timeout ends', async () => {
    await using front = await startS3Front(s3);
    front.setRule((request) => (isPart(request) || request.method === 'GET' ? 'hang' : undefined));
    const store = createS3Store({ ...through(front, 'long'), timeoutMs: 1_500 }, quick);
    const done = store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB))), never);
    await expect(done).rejects.toMatchObject({
      code: 'timeout',
      hint: expect.stringContaining('--s3-timeout'),
    });
    await expect(store.list(never)).rejects.toMatchObject({ code: 'timeout' });
    front.setRule(() => undefined);
    await nothingLeft('long');
  });

  it('an abort while everything hangs ends at once', async () => {
    await using front = await startS3Front(s3);
    // The question whether the server checks sums is a part of one byte, and goes before the others.
    const isTruePart = (request: SeenRequest) => isPart(request) && request.headers['content-length'] !== '1';
    front.setRule((request) => (isTruePart(request) ? 'hang' : undefined));
    const ended = new AbortController();
    const store = createS3Store(through(front, 'abort'), quick);
    const done = store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(16 * MIB))), ended.signal);
    await until(() => front.requests.filter(isTruePart).length === 2);
    ended.abort();
    await expect(done).rejects.toMatchObject({ code: 'aborted' });
    await nothingLeft('abort');
  });

  it.each([
    { what: 'in one request', size: 544 },
    { what: 'in parts', size: 11 * MIB },
  ])('an object of another size than was sent ($what) is removed and not reported', async ({ size }) => {
    await using front = await startS3Front(s3);
    front.setRule((request) =>
      request.method === 'HEAD'
        ? { status: 200, headers: { ...markOf(front.requests), 'content-length': '7' } }
        : undefined,
    );
    const store = createS3Store(through(front, `size-${size}`), quick);
    const done = store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(size))), never);
    await expect(done).rejects.toMatchObject({
      code: 'corrupt',
      why: expect.stringContaining('7 are stored'),
    });
    await nothingLeft(`size-${size}`);
  });

  it('a sidecar that cannot be stored is a warning', async () => {
    await using front = await startS3Front(s3);
    front.setRule((request) => (request.path.includes('.metadata') ? { status: 403 } : undefined));
    const store = createS3Store(through(front, 'sidecar'), quick);
    const bytes = GrowingBytes.whole(someBytes(544));
    const stored = await store.put(
      uploadOf(NAME, bytes, { facts: Promise.resolve({ metadata: { a: 'b' } }) }),
      never,
    );
    expect(stored.warnings).toMatchObject([{ code: 'forbidden' }]);
  });

  it('tells by how much the clock is wrong', async () => {
    await using front = await startS3Front(s3);
    const body = '<Error><Code>RequestTimeTooSkewed</Code><Message>too far</Message></Error>';
    const headers = { date: new Date(Date.now() - HOUR).toUTCString(), 'content-type': 'application/xml' };
    front.setRule(() => ({ status: 403, body, headers }));
    const store = createS3Store(through(front, 'skew'), quick);
    await expect(store.list(never)).rejects.toMatchObject({
      code: 'clock-skew',
      why: expect.stringMatching(/ (3599|3600|3601) s ahead of /),
    });
  });

  it('takes up a download that breaks off where it ended', async () => {
    const bytes = GrowingBytes.whole(someBytes(6 * MIB));
    await createS3Store(s3.settings(BUCKET, 'download'), quick).put(uploadOf(NAME, bytes), never);
    await using front = await startS3Front(s3);
    let cuts = 2;
    front.setRule((request) => {
      if (request.method !== 'GET' || cuts === 0) return undefined;
      cuts -= 1;
      return { cutAfterResponseBytes: 2 * MIB };
    });
    const store = createS3Store(through(front, 'download'), quick);
    expect(sha256(await collect(await store.open(NAME, never)))).toBe(sha256(bytes.content));
    expect(front.requests.filter((request) => request.method === 'GET')).toHaveLength(3);
  });

  it('sweeps the uploads that notes tell of, and no others', async () => {
    await using dir = await scratchDir();
    const settings = s3.settings(BUCKET, 'swept');
    const begin = async (bucket: string, key: string) => {
      const target = { Bucket: bucket, Key: key };
      const { UploadId } = await s3.client().send(new CreateMultipartUploadCommand(target));
      const part = { ...target, UploadId, PartNumber: 1, Body: 'part' };
      await s3.client().send(new UploadPartCommand(part));
      return UploadId ?? '';
    };
    const noted = await begin(BUCKET, `swept/${NAME}`);
    const note = (name: string, of = settings, nodeName = 'node-1') =>
      noteUpload(dir.path, of, { name, nodeName });
    await (await note(NAME)).begun(noted, false);
    const early = 'on-demand-node-1-1730308817.zip';
    await begin(BUCKET, `swept/${early}`);
    await note(early);
    const young = 'on-demand-node-1-1730308818';
    await begin(BUCKET, `swept/${young}`);
    const elsewhere = s3.settings('other', 'swept');
    await begin('other', `swept/${NAME}`);
    await note(NAME, elsewhere);
    // Nodes may share a folder, and the name of the one may end like that of the other.
    const ofOther = 'on-demand-my-node-1-1730308816';
    await (await note(ofOther, settings, 'my-node-1')).begun(await begin(BUCKET, `swept/${ofOther}`), false);

    const store = createS3Store(settings, { ...quick, journalDir: dir.path });
    expect([...(await store.sweep(never))].sort()).toEqual([
      `unfinished upload of s3://snapshots/swept/${NAME}`,
    ]);
    expect(await openUploadsOf(s3, BUCKET, `swept/${NAME}`)).toEqual([]);
    // What no note names may be another cluster's under the same key, for a day.
    expect(await openUploadsOf(s3, BUCKET, `swept/${early}`)).toHaveLength(1);
    expect(await openUploadsOf(s3, BUCKET, `swept/${young}`)).toHaveLength(1);
    expect(await openUploadsOf(s3, 'other', `swept/${NAME}`)).toHaveLength(1);
    expect(await openUploadsOf(s3, BUCKET, `swept/${ofOther}`)).toHaveLength(1);
    expect(await readdir(dir.path)).toHaveLength(3);
    expect(await store.sweep(never)).toEqual([]);
  });

  it('nobody listens, or the name is unknown', async () => {
    await using front = await startS3Front(s3);
    const settings = through(front, 'gone');
    await front[Symbol.asyncDispose]();
    const gone = createS3Store(settings, { ...quick, maxAttempts: 2 });
    await expect(gone.list(never)).rejects.toMatchObject({ code: 'unavailable', retryable: true });
    const unknown = createS3Store(
      { ...settings, endpoint: 'no-such-host.invalid:9000' },
      { ...quick, maxAttempts: 1 },
    );
    await expect(unknown.list(never)).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining('--s3-endpoint'),
    });
  });
});

// MinIO lists uploads for a whole key only: there the notes are what counts.
describe('uploads that no note tells of', () => {
  it('sweeps old uploads of this node without a note, and leaves others', async () => {
    await using s3 = await startS3({ kind: 'versitygw' });
    await s3.createBucket(BUCKET);
    const folder = 'old';
    const keys = [
      `${folder}/${NAME}`,
      `${folder}/on-demand-node-11-1730308816`,
      `${folder}/on-demand-other-node-1-1730308816-x`,
      `${folder}/deeper/${NAME}`,
      `${folder}er/${NAME}`,
    ];
    for (const Key of keys) await s3.client().send(new CreateMultipartUploadCommand({ Bucket: BUCKET, Key }));
    const settings = s3.settings(BUCKET, folder);
    expect(await createS3Store(settings, quick).sweep(never)).toEqual([]);
    const hoursLater = (hours: number) => ({ now: () => new Date(Date.now() + hours * HOUR) });
    // The name cannot tell this one from an upload of my-node-1, which may be slow.
    expect(await createS3Store(settings, { ...quick, clock: hoursLater(23) }).sweep(never)).toEqual([]);
    const clock = hoursLater(25);
    expect(await createS3Store(settings, { ...quick, clock }).sweep(never)).toEqual([
      `unfinished upload of s3://snapshots/${folder}/${NAME}`,
    ]);
    const left = await Promise.all(keys.map((key) => openUploadsOf(s3, BUCKET, key)));
    expect(left.map((uploads) => uploads.length)).toEqual([0, 1, 1, 1, 1]);
  });
});

describe.each(s3Kinds)('TLS to %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls: true });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3[Symbol.asyncDispose]());

  const list = (change: Partial<S3Settings>) =>
    createS3Store({ ...s3.settings(BUCKET), ...change }, { ...quick, maxAttempts: 1 }).list(never);

  it('refuses a CA that it does not know, and says which flag names one', async () => {
    const error: unknown = await list({ endpointCA: '' }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'tls', hint: expect.stringContaining('--s3-endpoint-ca') });
    expect(inspect(error, { depth: 9 })).not.toContain(s3.secretKey);
  });

  it('takes the CA as a file, inline, or both', async () => {
    const inline = Buffer.from(s3.ca?.pem ?? '').toString('base64');
    expect(await list({ endpointCA: inline })).toEqual([]);
    expect(await list({ endpointCA: `${s3.ca?.caFile ?? ''} ${inline}` })).toEqual([]);
  });

  it('takes a CA of the machine', async () => {
    const settings = s3.settings(BUCKET);
    const flags = s3Flags(settings).filter((flag) => !flag.startsWith('--s3-endpoint-ca'));
    await using folder = await scratchDir('machine-ca-');
    const run = (env: Record<string, string>) =>
      runCommand(['ls', '--distribution=custom', `--dir=${folder.path}`, ...flags], {
        ...s3Env(settings),
        SSL_CERT_DIR: folder.path,
        ...env,
      });
    const known = await run({ SSL_CERT_FILE: s3.ca?.caFile ?? '' });
    expect(known.code, known.stderr).toBe(0);
    const unknown = await run({});
    expect(unknown.code, unknown.stderr).toBe(1);
    expect(unknown.stderr).toContain('those of Node and of this machine');
  });

  it('skips the check when told to', async () => {
    expect(await list({ endpointCA: '', skipSSLVerify: true })).toEqual([]);
  });

  it('plain http on a TLS port', async () => {
    await expect(list({ insecure: true })).rejects.toMatchObject({
      code: expect.stringMatching(/^(protocol|unavailable)$/),
      hint: expect.stringContaining('--s3-insecure'),
    });
  });

  it('TLS on a plain http port', async () => {
    await using plain = await startFaultFront('http://127.0.0.1:1');
    await expect(list({ endpoint: plain.endpoint })).rejects.toMatchObject({
      code: 'protocol',
      hint: expect.stringContaining('--s3-insecure'),
    });
  });
});
