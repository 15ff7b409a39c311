import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { type Fault, type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { freePorts } from '../support/processes.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { type SaveScene, saveScene } from '../support/save-scene.ts';

const mebibyte = 1024 * 1024;
const BUCKET = 'uploads';
const HOUR = 3_600_000;
/** Lets a Node of its own believe that it is an hour later: what a wrong clock does to signatures is the server's to say. */
const CLOCK_AHEAD = `--import=data:text/javascript,${encodeURIComponent(`
  const now = Date.now;
  globalThis.Date = class extends Date {
    constructor(...args) { super(...(args.length === 0 ? [now() + ${HOUR}] : args)); }
    static now() { return now() + ${HOUR}; }
  };
`)}`;

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
  await etcd.fill(20 * mebibyte);
});
afterAll(() => etcd?.[Symbol.asyncDispose]());

const isPart = (request: SeenRequest) => request.path.includes('partNumber=');

describe.each(s3Kinds)('an upload to %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());
  const sceneOf = () => saveScene({ etcd: etcd.settings(), s3: { server: s3, bucket: BUCKET } });

  it('has the bytes of the file, and both are told', async () => {
    await using scene = await sceneOf();
    const result = await scene.run();
    const [name = ''] = await scene.finals();
    const key = `${scene.nodeName}/${name}`;
    const object = await s3.client().send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
    const stored = (await object.Body?.transformToByteArray()) ?? new Uint8Array();
    expect(Buffer.compare(await readFile(join(scene.dir, name)), stored)).toBe(0);
    const says = [`location=file://${scene.dir}/${name}`, `location=s3://${BUCKET}/${key}`];
    await scene.aftermath(result, { code: 0, local: 1, s3: 1, says });
  });

  it.each([
    {
      what: 'an access key that is unknown',
      env: 'AWS_ACCESS_KEY_ID',
      says: /why: .*does not know this access key/,
    },
    { what: 'a secret key of another', env: 'AWS_SECRET_ACCESS_KEY', says: /why: .*refuses the signature/ },
  ])('is refused for $what: the copy on disk stands', async ({ env, says }) => {
    await using scene = await sceneOf();
    const wrong = 'WRONGBUTSTILLSECRET';
    const result = await scene.run([], ['env', `${env}=${wrong}`]);
    const secrets = [wrong];
    await scene.aftermath(result, { code: 3, local: 1, says: [says, /do: .*--s3-/], secrets });
  });

  it('into a bucket that is not there fails: the copy on disk stands', async () => {
    await using scene = await sceneOf();
    const result = await scene.run(['--s3-bucket=no-such-bucket']);
    const says = [/why: there is no bucket no-such-bucket at/, 'correct --s3-bucket'];
    await scene.aftermath(result, { code: 3, local: 1, says });
  });

  const faults: readonly {
    what: string;
    matches: (request: SeenRequest) => boolean;
    fault: Fault;
    flags?: readonly string[];
    says: readonly (RegExp | string)[];
  }[] = [
    {
      what: '503 for parts',
      matches: isPart,
      fault: { status: 503 },
      flags: ['--s3-timeout=2s'],
      says: [/why: .*asks to come back later/, 'Try again later'],
    },
    {
      what: 'parts that are cut in the middle, each time',
      matches: isPart,
      fault: { cutAfterRequestBytes: mebibyte },
      flags: ['--s3-timeout=2s'],
      says: [/why: .*broke the connection off/, 'Try again'],
    },
    {
      what: 'parts that hang',
      matches: isPart,
      fault: 'hang',
      flags: ['--s3-timeout=1s'],
      says: ['needed longer than 1 s', 'Raise --s3-timeout, or check the network'],
    },
  ];
  it.each(faults)(
    'meets $what: the copy on disk stands, no parts stay',
    async ({ matches, fault, flags, says }) => {
      await using scene = await sceneOf();
      await using front = await startFaultFront(s3.url);
      front.setRule((request) => (matches(request) ? fault : undefined));
      const via = [`--s3-endpoint=${front.endpoint}`];
      const result = await scene.run([...via, ...(flags ?? [])]);
      front.setRule(() => undefined);
      await scene.aftermath(result, { code: 3, local: 1, says, next: via });
    },
  );

  it.each([
    { what: 'refused', fault: { status: 503 } },
    { what: 'cut in the middle', fault: { cutAfterRequestBytes: mebibyte } },
  ])('recovers when every part is $what once', async ({ fault }) => {
    await using scene = await sceneOf();
    await using front = await startFaultFront(s3.url);
    const seen = new Set<string>();
    front.setRule((request) => {
      if (!isPart(request) || seen.has(request.path)) return undefined;
      seen.add(request.path);
      return fault;
    });
    const via = [`--s3-endpoint=${front.endpoint}`];
    const result = await scene.run(via);
    expect(seen.size).toBeGreaterThan(2);
    await scene.aftermath(result, { code: 0, local: 1, s3: 1, next: via });
  });

  const anHourAhead = ['env', `NODE_OPTIONS=${CLOCK_AHEAD}`];

  it('is taken from a node whose clock is an hour ahead: the server says what time it is', async () => {
    await using scene = await sceneOf();
    const result = await scene.run([], anHourAhead);
    const [name = ''] = await scene.finals();
    expect(Number(name.split('-').at(-1)) * 1000 - Date.now()).toBeGreaterThan(HOUR / 2);
    await scene.aftermath(result, { code: 0, local: 1, s3: 1 });
  });

  // The other server says in the refusal itself what time it is, and has it checked for parts only.
  if (kind === 'minio') {
    it('is refused when the clocks differ and the server seems to have another one still', async () => {
      await using scene = await sceneOf();
      await using front = await startFaultFront(s3.url);
      front.setRule(() => ({ clockOffByMs: -3 * HOUR }));
      const result = await scene.run([`--s3-endpoint=${front.endpoint}`], anHourAhead);
      const says = [
        /why: the clock of this node is 14[34]\d\d s ahead of that of 127/,
        'Set the clock of this node right (NTP)',
      ];
      await scene.aftermath(result, { code: 3, local: 1, says });
    });
  }
});

describe('an upload over TLS', () => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind: 'versitygw', tls: true });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  const expectFailure = async (
    flags: (scene: SaveScene) => readonly string[],
    says: readonly (RegExp | string)[],
  ) => {
    await using scene = await saveScene({ etcd: etcd.settings(), s3: { server: s3, bucket: BUCKET } });
    const result = await scene.run(flags(scene));
    await scene.aftermath(result, { code: 3, local: 1, says });
  };

  it('to a server of an unknown CA fails: the copy on disk stands', () =>
    expectFailure(
      () => [`--s3-endpoint-ca=${etcd.ca.caFile}`],
      [
        /why: the certificate of .* is not signed by a CA that is trusted here/,
        'Name its CA with --s3-endpoint-ca',
      ],
    ));

  it('with a CA file that is missing fails: the copy on disk stands', () =>
    expectFailure(({ scratch }) => [`--s3-endpoint-ca=${scratch}/ca.crt`], ['/ca.crt', '--s3-endpoint-ca']));

  it('to a port where nobody listens fails: the copy on disk stands', async () => {
    const endpoint = `127.0.0.1:${(await freePorts(1))[0]}`;
    const says = [/why: .*nobody listens at 127/, 'Check --s3-endpoint'];
    await expectFailure(() => [`--s3-endpoint=${endpoint}`, '--s3-timeout=5s'], says);
  });
});
