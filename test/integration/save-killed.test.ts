import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { connect } from '../../src/kube/client.ts';
import { createKubeRecorder } from '../../src/kube/snapshot-recorder.ts';
import { createLocalStore } from '../../src/stores/local-store.ts';
import { isProven } from '../support/aftermath.ts';
import type { RunningCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { startKubeFront } from '../support/kube-front.ts';
import { recordsOfNode } from '../support/records.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { type SaveScene, saveScene } from '../support/save-scene.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const mebibyte = 1024 * 1024;
const BUCKET = 'killed';
const never = new AbortController().signal;
/** What ends a save, and the exit code of one that could still say so. */
const signals = [
  { signal: 'SIGTERM', code: 130 },
  { signal: 'SIGKILL', code: null },
] as const;

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
  await etcd.fill(20 * mebibyte);
});
afterAll(() => etcd?.[Symbol.asyncDispose]());

const etcdFront = () => startTcpFront(new URL(etcd.endpoints[0] ?? '').host);
const named = async (scene: SaveScene) => (await scene.finals()).length > 0;
const hasTemporary = async (scene: SaveScene, end: string) =>
  (await scene.temporaries()).find((name) => name.endsWith(end));

/**
 * A save that has all bytes, and waits for what a mute API server knows. It does so for three seconds from its beginning;
 * on a machine so busy that the bytes come later, another one is tried.
 */
async function provenAndNotNamed(scene: SaveScene, flags: readonly string[]): Promise<RunningCommand> {
  for (;;) {
    const save = scene.start(flags);
    try {
      await save.until(async () => {
        const part = await hasTemporary(scene, '.part');
        return part !== undefined && (await isProven(join(scene.dir, part)));
      });
      return save;
    } catch (error) {
      if ((await save.done).code !== 0) throw error;
      for (const name of await scene.finals()) await rm(join(scene.dir, name));
    }
  }
}

describe.each(signals)('a save that gets $signal', ({ signal, code }) => {
  it('while it connects to an etcd that does not answer', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    await using front = await etcdFront();
    front.hang();
    const save = scene.start([`--etcd-servers=https://${front.endpoint}`]);
    await save.until(async () => (await hasTemporary(scene, '.lock')) !== undefined);
    save.child.kill(signal);
    await scene.aftermath(await save.done, { code, local: 0 });
  });

  it.each([
    { what: 'etcd streams', flags: [] },
    { what: 'etcd streams and it compresses', flags: ['--snapshot-compress'] },
  ])('while $what', async ({ flags }) => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    await using front = await etcdFront();
    front.throttle(4 * mebibyte);
    const save = scene.start([`--etcd-servers=https://${front.endpoint}`, ...flags]);
    await save.until(async () => (await hasTemporary(scene, '.part')) !== undefined);
    save.child.kill(signal);
    await scene.aftermath(await save.done, { code, local: 0 });
  });

  it('when all bytes are there and the name is not', async () => {
    await using small = await startEtcd();
    await using scene = await saveScene({ etcd: small.settings() });
    await using front = await startKubeFront(inject('kubeconfig'), scene.scratch);
    front.setRule(({ path }) => (path.includes('/namespaces/kube-system') ? 'hang' : undefined));
    const save = await provenAndNotNamed(scene, [`--kubeconfig=${front.kubeconfig}`]);
    expect(await scene.finals()).toEqual([]);
    save.child.kill(signal);
    const result = await save.done;
    await scene.aftermath(result, { code, local: 0 });
    expect(result.stderr).not.toContain('S3');
  });
});

const isBegin = ({ method, path }: SeenRequest) => method === 'POST' && /[?&]uploads\b/.test(path);
const isPart = (request: SeenRequest) => request.path.includes('partNumber=2');
const isComplete = (request: SeenRequest) => request.method === 'POST' && request.path.includes('uploadId=');
const isCompare = (request: SeenRequest) => request.method === 'HEAD';

describe.each(s3Kinds)('with %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  describe.each(signals)('a save that gets $signal', ({ signal, code }) => {
    it.each([
      // It has begun one, and nobody knows which.
      { what: 'S3 begins an upload', reached: isBegin, objects: 0, fault: 'mute' },
      { what: 'S3 takes the parts', reached: isPart, objects: 0 },
      { what: 'S3 makes the object of the parts', reached: isComplete, objects: 0 },
      { what: 'it compares what is stored', reached: isCompare, objects: 1 },
    ] as const)('while $what', async ({ reached, objects, ...more }) => {
      await using scene = await saveScene({ etcd: etcd.settings(), s3: { server: s3, bucket: BUCKET } });
      await using front = await startFaultFront(s3.url);
      const fault = 'fault' in more ? more.fault : 'hang';
      front.setRule((request) => (reached(request) ? fault : undefined));
      const save = scene.start([`--s3-endpoint=${front.endpoint}`]);
      await save.until(async () => front.requests.some(reached) && (await named(scene)));
      save.child.kill(signal);
      const result = await save.done;
      front.setRule(() => undefined);
      // A note of an upload is of one endpoint: the next save must come to the same one.
      const next = [`--s3-endpoint=${front.endpoint}`];
      const unnamed = reached === isBegin ? 1 : 0;
      await scene.aftermath(result, { code, local: 1, s3: objects, next, unnamed });
    });
  });
});

describe.each(signals)('a save that gets $signal while S3 hangs', ({ signal, code }) => {
  it('has a record of the copy on disk all the same', async () => {
    await using s3 = await startS3({ kind: 'versitygw' });
    await s3.createBucket(BUCKET);
    const kubeconfig = inject('kubeconfig');
    await using scene = await saveScene({
      etcd: etcd.settings(),
      s3: { server: s3, bucket: BUCKET },
      kubeconfig,
    });
    await using front = await startFaultFront(s3.url);
    front.setRule((request) => (isPart(request) ? 'hang' : undefined));
    const via = [`--s3-endpoint=${front.endpoint}`];
    const save = scene.start(via);
    await save.until(async () => (await recordsOfNode(kubeconfig, scene.nodeName)).length > 0);
    save.child.kill(signal);
    const result = await save.done;
    front.setRule(() => undefined);
    const [name] = await scene.finals();
    const location = `file://${scene.dir}/${name}`;
    expect(await recordsOfNode(kubeconfig, scene.nodeName)).toMatchObject([
      { spec: { location }, status: { readyToUse: true } },
    ]);
    const says = signal === 'SIGKILL' ? [] : [`why: whole for certain: ${location}\n`];
    await scene.aftermath(result, { code, local: 1, says, next: via });
  });
});

describe.each(signals)('a save that gets $signal while its records are made', ({ signal, code }) => {
  it('leaves whole snapshots and no record, and the records can be made', async () => {
    await using s3 = await startS3({ kind: 'versitygw' });
    await s3.createBucket(BUCKET);
    await using scene = await saveScene({
      etcd: etcd.settings(),
      s3: { server: s3, bucket: BUCKET },
      kubeconfig: inject('kubeconfig'),
    });
    await using front = await startKubeFront(inject('kubeconfig'), scene.scratch);
    const isRecord = ({ path }: SeenRequest) => path.includes('/etcdsnapshotfiles');
    front.setRule((request) => (isRecord(request) ? 'hang' : undefined));
    const save = scene.start([`--kubeconfig=${front.kubeconfig}`]);
    await save.until(() => front.requests.filter(isRecord).length === 2);
    save.child.kill(signal);
    const result = await save.done;
    expect(await recordsOfNode(inject('kubeconfig'), scene.nodeName)).toEqual([]);
    const [snapshot, ...more] = await createLocalStore({ ...scene, isDefaultDir: false }).list(never);
    expect(more).toEqual([]);
    await scene.aftermath(result, { code, local: 1, s3: 1 });
    if (snapshot === undefined) throw new Error('the snapshot is gone');

    await using client = await connect(inject('kubeconfig'));
    const recorder = createKubeRecorder(client, { program: 'k3s', nodeName: scene.nodeName });
    await recorder.record(snapshot, never);
    expect(await recordsOfNode(inject('kubeconfig'), scene.nodeName)).toContainEqual(
      expect.objectContaining({
        spec: expect.objectContaining({ snapshotName: snapshot.name }),
        status: expect.objectContaining({ readyToUse: true }),
      }),
    );
  });
});
