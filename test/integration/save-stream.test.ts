import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { type GrpcFault, startGrpcFront } from '../support/grpc-front.ts';
import { recordsOfNode } from '../support/records.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { saveScene } from '../support/save-scene.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const mebibyte = 1024 * 1024;
const BUCKET = 'streams';
/** In a value of its own among others, so that what is turned is data, and neither a frame nor a page of etcd. */
const marker = randomBytes(32);

let etcd: EtcdCluster;
let s3: S3Server;
beforeAll(async () => {
  [etcd, s3] = await Promise.all([startEtcd({ tls: false }), startS3({ kind: 'versitygw' })]);
  await s3.createBucket(BUCKET);
  await etcd.fill(10 * mebibyte);
  // So often that it is whole in whatever piece the network delivers.
  await etcd.put([['/marker', Buffer.alloc(128 * 1024, marker)]]);
  await etcd.fill(20 * mebibyte);
});
afterAll(async () => {
  await etcd?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
});

const [plain, zipped] = [
  { as: 'a plain file', flags: [] },
  { as: 'a zip', flags: ['--snapshot-compress'] },
];
/** The connection ends with an error or without one, as the kernel has it. */
const cure = /do: .*(etcd runs|healthy etcd member)/;
const endpoint = () => etcd.endpoints[0] ?? '';

describe.each([plain, zipped])('as $as on disk and S3, nothing is kept of', ({ flags }) => {
  const faults: readonly { what: string; fault: GrpcFault; says: RegExp }[] = [
    {
      what: 'a stream with one bit turned',
      fault: { flip: marker },
      says: /its SHA-256 is .* etcd put behind it is/,
    },
    {
      what: 'a stream that ends well and too early',
      fault: { dropAfter: 12 * mebibyte },
      says: /etcd announced \d+ bytes and sent \d+/,
    },
  ];
  it.each(faults)('$what, and the failure is recorded', async ({ fault, says }) => {
    const kubeconfig = inject('kubeconfig');
    await using scene = await saveScene({
      etcd: etcd.settings(),
      s3: { server: s3, bucket: BUCKET },
      kubeconfig,
    });
    await using front = await startGrpcFront(endpoint(), fault);
    const result = await scene.run([`--etcd-servers=${front.url}`, ...flags]);
    expect(await scene.temporaries()).toEqual([]);
    const [record, ...more] = await recordsOfNode(kubeconfig, scene.nodeName);
    expect(more).toEqual([]);
    expect(record?.status).toMatchObject({
      readyToUse: false,
      size: '0',
      error: { message: expect.stringMatching(says) },
    });
    await scene.aftermath(result, {
      code: 1,
      local: 0,
      says: ['The snapshot stream from etcd is damaged', says, 'check the disk and the network of that etcd'],
    });
  });

  it('a stream that is cut', async () => {
    await using scene = await saveScene({ etcd: etcd.settings(), s3: { server: s3, bucket: BUCKET } });
    await using front = await startTcpFront(new URL(endpoint()).host);
    front.cutAfter(18 * mebibyte);
    const result = await scene.run([`--etcd-servers=http://${front.endpoint}`, ...flags]);
    expect(await scene.temporaries()).toEqual([]);
    await scene.aftermath(result, {
      code: 1,
      local: 0,
      says: ['The snapshot stream of etcd broke off', cure],
    });
  });
});

it('passes a whole stream through the front unspoilt', async () => {
  await using scene = await saveScene({ etcd: etcd.settings() });
  await using front = await startGrpcFront(endpoint(), { flip: Buffer.from('no etcd has this value') });
  await scene.aftermath(await scene.run([`--etcd-servers=${front.url}`]), { code: 0, local: 1 });
});

it('nothing is kept when etcd is killed in mid-stream, and nothing stands in the way of the next save', async () => {
  await using doomed = await startEtcd();
  await doomed.fill(24 * mebibyte);
  await using scene = await saveScene({ etcd: etcd.settings(), s3: { server: s3, bucket: BUCKET } });
  await using front = await startTcpFront(new URL(doomed.endpoints[0] ?? '').host);
  front.throttle(4 * mebibyte);
  const { caFile, certFile, keyFile } = doomed.settings();
  const save = scene.start([
    `--etcd-servers=https://${front.endpoint}`,
    `--etcd-cafile=${caFile}`,
    `--etcd-certfile=${certFile}`,
    `--etcd-keyfile=${keyFile}`,
  ]);
  await save.until(async () => (await scene.temporaries()).some((name) => name.endsWith('.part')));
  doomed.members[0]?.kill('SIGKILL');
  const result = await save.done;
  expect(await scene.temporaries()).toEqual([]);
  await scene.aftermath(result, { code: 1, local: 0, says: ['The snapshot stream of etcd broke off', cure] });
});
