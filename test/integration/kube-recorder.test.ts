import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { fromSnapshotFile } from '../../src/crds/mapping.ts';
import { connect, type KubeClient } from '../../src/kube/client.ts';
import { createSnapshotFilesApi } from '../../src/kube/snapshot-files-api.ts';
import { createKubeRecorder } from '../../src/kube/snapshot-recorder.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { exampleS3Location } from '../support/example-snapshots.ts';
import { scratchDir } from '../support/scratch.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const never = new AbortController().signal;
const createdAt = new Date('2024-10-30T17:20:16Z');
const snapshotDir = '/var/lib/rancher/k3s/server/db/snapshots';

function localSnapshot(nodeName: string): Snapshot {
  const name = `on-demand-${nodeName}-1730308816`;
  return {
    name,
    nodeName,
    createdAt,
    size: 2_891_808,
    compressed: false,
    location: { store: 'local', path: `${snapshotDir}/${name}` },
    tokenHash: 'b4b83cda3099',
  };
}

function s3Snapshot(nodeName: string): Snapshot {
  const name = `on-demand-${nodeName}-1730308816`;
  return {
    ...localSnapshot(nodeName),
    location: exampleS3Location(name, { skipSSLVerify: true, prefix: 'k3s-test' }),
  };
}

function failedSnapshot(nodeName: string): Snapshot {
  return { ...localSnapshot(nodeName), size: 0, failure: { time: createdAt, message: 'disk full' } };
}

let cluster: ControlPlane;
let client: KubeClient;

beforeAll(async () => {
  cluster = await startControlPlane();
  client = await connect(cluster.kubeconfig);
});

afterAll(async () => {
  await client?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

function recorderOf(nodeName: string, through: KubeClient = client, warnings: Error[] = []) {
  const onWarning = (warning: Error) => warnings.push(warning);
  return createKubeRecorder(through, { program: 'k3s', nodeName, onWarning });
}

async function kubectl(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await cluster.kubectl(args);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout;
}

async function recordsOf(storageNode: string): Promise<ETCDSnapshotFile[]> {
  const labelSelector = `etcd.k3s.cattle.io/snapshot-storage-node=${storageNode}`;
  const files: ETCDSnapshotFile[] = [];
  for await (const file of createSnapshotFilesApi(client).list({ labelSelector, pageSize: 1 }, never)) {
    files.push(file);
  }
  return files;
}

async function eventsOf(name: string): Promise<{ reason: string; message: string; type: string }[]> {
  const selector = `involvedObject.name=${name}`;
  const json = await kubectl('get', 'events', '-n', 'default', '--field-selector', selector, '-o', 'json');
  return JSON.parse(json).items;
}

describe('the records of a save', () => {
  it('are shown by kubectl get and describe as in the seed', async () => {
    const recorder = recorderOf('k3s-server-1');
    await recorder.record(localSnapshot('k3s-server-1'), never);
    await recorder.record(s3Snapshot('k3s-server-1'), never);

    const name = 'on-demand-k3s-server-1-1730308816';
    const names = [`local-${name}-3e9290`, `s3-${name}-79b15c`];
    const table = await kubectl('get', 'etcdsnapshotfile', ...names);
    expect(
      table
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/\s+/)),
    ).toEqual([
      ['NAME', 'SNAPSHOTNAME', 'NODE', 'LOCATION', 'SIZE', 'CREATIONTIME'],
      [names[0], name, 'k3s-server-1', `file://${snapshotDir}/${name}`, '2891808', '2024-10-30T17:20:16Z'],
      [names[1], name, 's3', `s3://etcd/k3s-test/${name}`, '2891808', '2024-10-30T17:20:16Z'],
    ]);

    const described = await kubectl('describe', 'etcdsnapshotfile', names[1] ?? '');
    const words = (line: string) => line.trim().replaceAll(/\s+/g, ' ').replace('SSLVerify', 'SSL Verify');
    const lines = described.split('\n').map(words);
    expect(lines).toEqual(
      expect.arrayContaining([
        `Name: ${names[1]}`,
        'Labels: etcd.k3s.cattle.io/snapshot-storage-node=s3',
        'etcd.k3s.cattle.io/snapshot-token-hash: b4b83cda3099',
        'API Version: k3s.cattle.io/v1',
        'Kind: ETCDSnapshotFile',
        'Generation: 1',
        `Location: s3://etcd/k3s-test/${name}`,
        'Node Name: s3',
        'Bucket: etcd',
        'Endpoint: s3.example.com',
        'Prefix: k3s-test',
        'Region: us-east-1',
        'Skip SSL Verify: true',
        `Snapshot Name: ${name}`,
        'Creation Time: 2024-10-30T17:20:16Z',
        'Ready To Use: true',
        'Size: 2891808',
        'Type Reason Age From Message',
      ]),
    );
    expect(described).toMatch(
      new RegExp(`Normal +ETCDSnapshotCreated +\\S+ +k3s-supervisor +Snapshot ${name} saved on S3`),
    );
  });

  it('come back from the API server as they went in', async () => {
    const snapshot = { ...localSnapshot('whole'), metadata: { team: 'platform' } };
    await recorderOf('whole').record(snapshot, never);
    const [file] = await recordsOf('whole');
    expect(file && fromSnapshotFile(file, 'k3s')).toEqual(snapshot);
  });

  it('are written once, and told once', async () => {
    const recorder = recorderOf('twice');
    await recorder.record(localSnapshot('twice'), never);
    const before = await recordsOf('twice');
    await recorder.record(localSnapshot('twice'), never);
    expect(await recordsOf('twice')).toEqual(before);
    const events = await eventsOf(before[0]?.metadata.name ?? '');
    expect(events.map(({ type, reason, message }) => ({ type, reason, message }))).toEqual([
      {
        type: 'Normal',
        reason: 'ETCDSnapshotCreated',
        message: 'Snapshot on-demand-twice-1730308816 saved on twice',
      },
    ]);
  });

  it('lose their error when a later save succeeds', async () => {
    const recorder = recorderOf('again');
    await recorder.record(failedSnapshot('again'), never);
    const [bad] = await recordsOf('again');
    expect(bad?.status).toMatchObject({ readyToUse: false, size: '0', error: { message: 'disk full' } });
    expect(bad?.metadata.annotations).toBeUndefined();
    expect(await eventsOf(bad?.metadata.name ?? '')).toMatchObject([
      { type: 'Warning', reason: 'ETCDSnapshotFailed' },
    ]);
    await recorder.record(localSnapshot('again'), never);
    const [good] = await recordsOf('again');
    expect(good?.status).toEqual({ readyToUse: true, size: '2891808', creationTime: '2024-10-30T17:20:16Z' });
  });

  it('keep the labels, annotations and finalizers of others', async () => {
    const recorder = recorderOf('foreign');
    await recorder.record(failedSnapshot('foreign'), never);
    const [file] = await recordsOf('foreign');
    const name = file?.metadata.name ?? '';
    const patch = {
      metadata: { labels: { a: 'b' }, annotations: { c: 'd' }, finalizers: ['example.com/x'] },
    };
    await kubectl('patch', 'etcdsnapshotfile', name, '--type=merge', '-p', JSON.stringify(patch));
    await recorder.record(localSnapshot('foreign'), never);
    expect((await recordsOf('foreign'))[0]).toMatchObject({ ...patch, status: { readyToUse: true } });
  });

  it('come to one record and one event when several recorders are at it at once', async () => {
    const snapshots = Array.from({ length: 6 }, (_, i) =>
      i % 2 === 0 ? localSnapshot('race') : { ...localSnapshot('race'), metadata: { by: String(i) } },
    );
    await Promise.all(snapshots.map((snapshot) => recorderOf('race').record(snapshot, never)));
    const files = await recordsOf('race');
    expect(files).toHaveLength(1);
    expect(await eventsOf(files[0]?.metadata.name ?? '')).toHaveLength(1);
  });

  it('are made for a node whose name is too long for a label, and for a name that is no DNS name', async () => {
    const nodeName = `${'long-'.repeat(20)}node`;
    const snapshot = { ...localSnapshot(nodeName), name: `My_Snap-${nodeName}-1730308816` };
    await recorderOf(nodeName).record(snapshot, never);
    const all = JSON.parse(await kubectl('get', 'etcdsnapshotfile', '-o', 'json')).items;
    const mine = all.filter((file: ETCDSnapshotFile) => file.spec.nodeName === nodeName);
    expect(mine).toHaveLength(1);
    expect(mine[0].metadata.name).toMatch(/^local-etcd-snapshot-long-.*-1730308816-[0-9a-f]{6}$/);
  });
});

describe('the facts of a cluster', () => {
  it('are the UID of kube-system and what the administrator noted', async () => {
    const uid = await kubectl('get', 'namespace', 'kube-system', '-o', 'jsonpath={.metadata.uid}');
    expect(await recorderOf('n1').facts(never)).toEqual({ clusterId: uid });
    const map = 'k3s-etcd-snapshot-extra-metadata';
    await kubectl('create', 'configmap', map, '-n', 'kube-system', '--from-literal=team=platform');
    expect(await recorderOf('n1').facts(never)).toEqual({ clusterId: uid, metadata: { team: 'platform' } });
  });
});

describe('without the rights for it', () => {
  it('names verb and resource, and the facts are left out with a warning', async () => {
    await using stranger = await connect(await cluster.serviceAccountKubeconfig('default', 'stranger'));
    const warnings: Error[] = [];
    const recorder = recorderOf('n1', stranger, warnings);
    await expect(recorder.record(localSnapshot('n1'), never)).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('get etcdsnapshotfiles.k3s.cattle.io'),
      hint: expect.stringContaining('"get" etcdsnapshotfiles.k3s.cattle.io'),
    });
    expect(await recorder.facts(never)).toEqual({});
    expect(warnings).toMatchObject([{ code: 'forbidden' }, { code: 'forbidden' }]);
  });
});

describe('a network that does not deliver', () => {
  it('ends at the deadline when the API server does not answer', async () => {
    await using front = await startTcpFront(new URL(cluster.url).host);
    await using hanging = await connect(await cluster.kubeconfigVia(`https://${front.endpoint}`), {
      timeoutMs: 500,
    });
    await recorderOf('front', hanging).record(localSnapshot('front'), never);
    front.hang();
    const warnings: Error[] = [];
    const recorder = recorderOf('front', hanging, warnings);
    await expect(recorder.record(localSnapshot('front'), never)).rejects.toMatchObject({ code: 'timeout' });
    expect(await recorder.facts(AbortSignal.timeout(500))).toEqual({});
  });

  it('ends at once when it is interrupted', async () => {
    await using front = await startTcpFront(new URL(cluster.url).host);
    await using hanging = await connect(await cluster.kubeconfigVia(`https://${front.endpoint}`));
    front.hang();
    const stop = new AbortController();
    const recording = recorderOf('front', hanging).record(localSnapshot('front'), stop.signal);
    stop.abort();
    await expect(recording).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('an API server that is not as it should be', () => {
  it('lacks the CustomResourceDefinition, or is away', async () => {
    await using bare = await startControlPlane({ crds: false });
    await using other = await connect(bare.kubeconfig, { timeoutMs: 2000 });
    const warnings: Error[] = [];
    const recorder = recorderOf('n1', other, warnings);
    await expect(recorder.record(localSnapshot('n1'), never)).rejects.toMatchObject({
      code: 'not-found',
      hint: expect.stringContaining('etcdsnapshotfiles.k3s.cattle.io'),
    });
    expect(await recorder.facts(never)).toMatchObject({ clusterId: expect.any(String) });
    expect(warnings).toEqual([]);

    bare.kill('SIGKILL');
    await vi.waitFor(() =>
      expect(recorder.record(localSnapshot('n1'), never)).rejects.toMatchObject({
        code: 'unavailable',
        hint: expect.stringContaining('API server'),
      }),
    );
    expect(await recorder.facts(never)).toEqual({});
    expect(warnings).toHaveLength(2);
  });

  it('has a certificate of an unknown CA', async () => {
    await using dir = await scratchDir();
    const text = await readFile(cluster.kubeconfig, 'utf8');
    const path = join(dir.path, 'kubeconfig');
    await writeFile(path, text.replaceAll(/^ *certificate-authority(-data)?:.*\n/gm, ''));
    await using distrusting = await connect(path);
    await expect(recorderOf('n1', distrusting).record(localSnapshot('n1'), never)).rejects.toMatchObject({
      code: 'tls',
      hint: expect.stringContaining('certificate-authority'),
    });
  });
});
