import { readdir } from 'node:fs/promises';
import { inspect } from 'node:util';
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Redacted } from '../../src/config/types.ts';
import { SnapshotError } from '../../src/errors.ts';
import { UPLOAD_MARK } from '../../src/stores/s3-ownership.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { GrowingBytes, MIB, sha256, someBytes } from '../support/growing-bytes.ts';
import { openUploadsOf, until } from '../support/s3-looks.ts';
import { type S3Server, s3Servers, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { collect, describeStore, uploadOf } from '../support/store-contract.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const never = new AbortController().signal;
const options = { program: 'k3s', nodeName: 'node-1', partSize: 5 * MIB } as const;

async function failure(done: Promise<unknown>): Promise<PromiseSettledResult<unknown> | undefined> {
  return (await Promise.allSettled([done]))[0];
}

describe.each(s3Servers)('S3 store on $kind, tls $tls', ({ kind, tls }) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3[Symbol.asyncDispose]());

  let stores = 0;
  describeStore('it', async () => {
    stores += 1;
    const store = createS3Store(s3.settings(BUCKET, `contract-${stores}`), options);
    return { store, [Symbol.asyncDispose]: async () => undefined };
  });

  const raw = async (key: string) => {
    const answer = await s3.client().send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
    return Buffer.from((await answer.Body?.transformToByteArray()) ?? []);
  };
  const putRaw = (key: string, body: string, metadata: Record<string, string> = {}) =>
    s3.client().send(
      new PutObjectCommand({
        Bucket: BUCKET,
        Key: key,
        Body: body,
        ContentLength: Buffer.byteLength(body),
        Metadata: metadata,
      }),
    );

  it.each([
    { size: 4_000, what: 'a small snapshot' },
    { size: 5 * MIB, what: 'a snapshot of exactly one part' },
    { size: 10 * MIB, what: 'a snapshot of exactly two parts' },
    { size: 17 * MIB + 32, what: 'a snapshot of several parts' },
  ])('keeps $what with its metadata and sidecar', async ({ size }) => {
    const folder = `whole-${size}`;
    const store = createS3Store(s3.settings(BUCKET, folder), options);
    const content = someBytes(size);
    const facts = { clusterId: 'c1', tokenHash: '0123456789ab', metadata: { purpose: 'test', zażółć: 'ü' } };
    const seen: number[] = [];
    const stored = await store.put(
      uploadOf(NAME, GrowingBytes.whole(content), {
        facts: Promise.resolve(facts),
        onProgress: (bytes) => seen.push(bytes),
      }),
      never,
    );
    expect(stored.warnings).toEqual([]);
    expect(seen.at(-1)).toBe(size);
    expect(sha256(await raw(`${folder}/${NAME}`))).toBe(sha256(content));
    const head = await s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: `${folder}/${NAME}` }));
    expect(head.ContentType).toBe('application/octet-stream');
    expect(head.Metadata).toEqual({
      'k3s-cluster-id': 'c1',
      'k3s-node-name': 'node-1',
      'k3s-token-hash': '0123456789ab',
      [UPLOAD_MARK]: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(JSON.parse(String(await raw(`${folder}/.metadata/${NAME}`)))).toEqual(facts.metadata);
    expect(await store.list(never)).toEqual([stored.snapshot]);
    expect(await store.stat(NAME, never)).toEqual(stored.snapshot);
    const part = await collect(await store.open(NAME, never, { start: 100, end: 2_100 }));
    expect(part.equals(content.subarray(100, 2_100))).toBe(true);
    expect(sha256(await collect(await store.open(NAME, never)))).toBe(sha256(content));
    expect(await store.remove(NAME, never)).toBe(true);
    expect(await store.remove(NAME, never)).toBe(false);
    expect(await store.stat(NAME, never)).toBeUndefined();
    expect(await store.list(never)).toEqual([]);
    await expect(raw(`${folder}/.metadata/${NAME}`)).rejects.toThrow();
  });

  it.each([544, 6 * MIB])(
    'two clusters that save under one name at the same time get one object, and one of them an error (%i bytes)',
    async (size) => {
      const folder = `clusters-${size}`;
      const clusters = ['one', 'two'].map((clusterId) => ({
        clusterId,
        bytes: GrowingBytes.whole(someBytes(size)),
        store: createS3Store(s3.settings(BUCKET, folder), options),
      }));
      const put = async ({ clusterId, bytes, store }: (typeof clusters)[number]) =>
        store.put(uploadOf(NAME, bytes, { facts: Promise.resolve({ clusterId }) }), never);
      const done = await Promise.allSettled(clusters.map(put));
      const winners = clusters.filter((_cluster, index) => done[index]?.status === 'fulfilled');
      expect(winners).toHaveLength(1);
      const [winner] = winners;
      const loser = clusters.find((cluster) => cluster !== winner);
      if (winner === undefined || loser === undefined) throw new Error('nobody has won');
      const whose = expect.stringContaining(
        `of cluster ${winner.clusterId}, node node-1, with ${size} bytes`,
      );
      for (const attempt of [done.find(({ status }) => status === 'rejected'), await failure(put(loser))]) {
        expect(attempt).toMatchObject({ reason: { code: 'exists', why: whose } });
      }
      expect(sha256(await raw(`${folder}/${NAME}`))).toBe(sha256(winner.bytes.content));
      expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)).toEqual([]);
      // The same save again is the same snapshot.
      expect((await put(winner)).snapshot.size).toBe(size);
    },
  );

  it('follows growing bytes, and makes the object only when they are proven', async () => {
    await using dir = await scratchDir();
    const store = createS3Store(s3.settings(BUCKET, 'growing'), { ...options, journalDir: dir.path });
    const bytes = new GrowingBytes(someBytes(12 * MIB));
    const taken: number[] = [];
    const upload = { ...uploadOf(NAME, bytes), onProgress: (count: number) => taken.push(count) };
    const done = store.put(upload, never);
    bytes.grow(11 * MIB);
    await until(() => taken.at(-1) === 10 * MIB);
    expect(await openUploadsOf(s3, BUCKET, `growing/${NAME}`)).toHaveLength(1);
    expect(await readdir(dir.path)).toHaveLength(1);
    bytes.grow(MIB);
    expect(await store.list(never)).toEqual([]);
    bytes.prove();
    expect((await done).snapshot.size).toBe(12 * MIB);
    expect(sha256(await raw(`growing/${NAME}`))).toBe(sha256(bytes.content));
    expect(await openUploadsOf(s3, BUCKET, `growing/${NAME}`)).toEqual([]);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('a snapshot that is never proven leaves nothing', async () => {
    await using dir = await scratchDir();
    const store = createS3Store(s3.settings(BUCKET, 'unproven'), { ...options, journalDir: dir.path });
    const bytes = new GrowingBytes(someBytes(12 * MIB));
    const taken: number[] = [];
    const done = store.put({ ...uploadOf(NAME, bytes), onProgress: (count) => taken.push(count) }, never);
    bytes.grow(11 * MIB);
    await until(() => taken.at(-1) === 10 * MIB);
    const cause = new SnapshotError('corrupt', 'the hash is wrong');
    bytes.fail(cause);
    await expect(done).rejects.toBe(cause);
    expect(await openUploadsOf(s3, BUCKET, `unproven/${NAME}`)).toEqual([]);
    expect(await store.list(never)).toEqual([]);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('an abort in mid-upload leaves no parts', async () => {
    await using dir = await scratchDir();
    const store = createS3Store(s3.settings(BUCKET, 'aborted'), { ...options, journalDir: dir.path });
    const bytes = new GrowingBytes(someBytes(12 * MIB));
    const ended = new AbortController();
    const taken: number[] = [];
    const upload = { ...uploadOf(NAME, bytes), onProgress: (count: number) => taken.push(count) };
    const done = store.put(upload, ended.signal);
    bytes.grow(11 * MIB);
    await until(() => taken.length > 0);
    ended.abort();
    await expect(done).rejects.toMatchObject({ code: 'aborted' });
    expect(await openUploadsOf(s3, BUCKET, `aborted/${NAME}`)).toEqual([]);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('lists only its own folder, and only snapshots', async () => {
    await putRaw(`a/${NAME}`, 'x'.repeat(544), { 'RKE2-Node-Name': 'other', 'Rke2-Token-Hash': 'h' });
    await putRaw(`ab/${NAME}`, 'y');
    await putRaw(`a/b/${NAME}`, 'z');
    await putRaw(`a/.metadata/${NAME}`, '{"k":"v"}');
    await putRaw('a/empty-node-1-1730308816', '');
    await putRaw('a/manual', 'm'.repeat(544));
    await putRaw('a/before-upgrade.zip', 'renamed by hand');
    await putRaw('a/notes.txt', 'no snapshot');
    await putRaw('a/My_Snap ü+%-node-1-1730308817.zip', 'odd');
    const store = createS3Store(s3.settings(BUCKET, 'a'), options);
    const found = (await store.list(never)).toSorted((one, two) => one.name.localeCompare(two.name));
    expect(found.map((snapshot) => snapshot.name)).toEqual([
      'before-upgrade.zip',
      'manual',
      'My_Snap ü+%-node-1-1730308817.zip',
      NAME,
    ]);
    expect(await store.stat('notes.txt', never)).toBeUndefined();
    expect(found[3]).toMatchObject({
      nodeName: 'other',
      tokenHash: 'h',
      metadata: { k: 'v' },
      createdAt: new Date(1_730_308_816_000),
      location: { key: `a/${NAME}`, prefix: 'a' },
    });
    expect(found[2]).toMatchObject({ compressed: true, nodeName: undefined });
    expect(await store.remove('My_Snap ü+%-node-1-1730308817.zip', never)).toBe(true);
    expect(await store.remove(NAME, never)).toBe(true);
    expect(String(await raw(`ab/${NAME}`))).toBe('y');
    expect(String(await raw(`a/b/${NAME}`))).toBe('z');
  });

  it('keeps to the root of the bucket without a folder', async () => {
    await s3.createBucket('root');
    const store = createS3Store(s3.settings('root'), options);
    await s3.client().send(new PutObjectCommand({ Bucket: 'root', Key: 'deeper/x-1', Body: 'x' }));
    await store.put(
      uploadOf(NAME, GrowingBytes.whole(someBytes(544)), {
        facts: Promise.resolve({ metadata: { a: 'b' } }),
      }),
      never,
    );
    expect((await store.list(never)).map(({ name, metadata }) => ({ name, metadata }))).toEqual([
      { name: NAME, metadata: { a: 'b' } },
    ]);
  });

  it('refuses names that lead elsewhere', async () => {
    const store = createS3Store(s3.settings(BUCKET, 'names'), options);
    for (const name of ['../x', 'a/b', '', '..', '.metadata', 'a\0b']) {
      await expect(store.remove(name, never)).rejects.toMatchObject({ code: 'usage' });
      await expect(store.stat(name, never)).rejects.toMatchObject({ code: 'usage' });
      await expect(store.open(name, never)).rejects.toMatchObject({ code: 'usage' });
    }
    await expect(store.open(NAME, never)).rejects.toMatchObject({ code: 'not-found' });
  });

  it('tells a wrong key, a wrong secret and a wrong bucket apart, and shows no secret', async () => {
    const right = s3.settings(BUCKET, 'wrong');
    const keys = (accessKey: string, secretKey: string) => ({
      accessKey: new Redacted(accessKey),
      secretKey: new Redacted(secretKey),
      sessionToken: undefined,
    });
    const wrongs = [
      { settings: { ...right, keys: keys('AKIAWRONG', s3.secretKey) }, code: 'unauthenticated' },
      { settings: { ...right, keys: keys(s3.accessKey, 'not-the-secret') }, code: 'unauthenticated' },
      { settings: { ...right, bucket: 'no-such-bucket' }, code: 'not-found' },
    ];
    for (const { settings, code } of wrongs) {
      const store = createS3Store(settings, options);
      const put = (size: number) => store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(size))), never);
      for (const work of [
        () => store.list(never),
        () => put(544),
        () => put(11 * MIB),
        () => store.sweep(never),
      ]) {
        const error: unknown = await work().then(
          () => undefined,
          (reason: unknown) => reason,
        );
        expect(error).toMatchObject({ code, hint: expect.stringMatching(/--s3-/) });
        const shown = inspect(error, { depth: 9, showHidden: true });
        expect(shown).not.toMatch(/not-the-secret|test-bed-secret-key|Signature=/);
      }
    }
  });
});
