import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { connect } from '../../src/kube/client.ts';
import { createSnapshotFilesApi } from '../../src/kube/snapshot-files-api.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import type { SeenRequest } from '../support/fault-front.ts';
import { startKubeFront } from '../support/kube-front.ts';
import { freePorts } from '../support/processes.ts';
import { recordsOfNode } from '../support/records.ts';
import { saveScene } from '../support/save-scene.ts';

const never = new AbortController().signal;
const isRecord = ({ path }: SeenRequest) => path.includes('/etcdsnapshotfiles');

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd?.[Symbol.asyncDispose]());

/** Whatever is wrong with the API server: the snapshot stands, the command is done (0), and a warning tells. */
async function expectWarning(
  kubeconfig: string,
  says: readonly (RegExp | string)[],
  secrets: readonly string[] = [],
): Promise<void> {
  await using scene = await saveScene({ etcd: etcd.settings() });
  const result = await scene.run([`--kubeconfig=${kubeconfig}`]);
  expect(result.stderr).toMatch(/^INFO.* saved\./m);
  expect(result.stderr).toMatch(/^WARN.*\n {2}why: .+\n {2}do: {2}.+/m);
  expect(result.stderr).not.toMatch(/^ERRO/m);
  await scene.aftermath(result, { code: 0, local: 1, says, secrets });
}

async function rewritten(change: (text: string) => string, dir: string): Promise<string> {
  const path = join(dir, 'kubeconfig');
  await writeFile(path, change(await readFile(inject('kubeconfig'), 'utf8')), { mode: 0o600 });
  return path;
}

describe('a record, with an API server that', () => {
  let bare: ControlPlane;
  beforeAll(async () => {
    bare = await startControlPlane({ crds: false });
  });
  afterAll(() => bare?.[Symbol.asyncDispose]());

  it('does not know the definition', () =>
    expectWarning(bare.kubeconfig, [
      'the API server knows no such resource',
      'Install the CustomResourceDefinition etcdsnapshotfiles.k3s.cattle.io: kubectl apply -f deploy/crds/',
    ]));

  it('does not give a ServiceAccount the right to it', async () => {
    const kubeconfig = await bare.serviceAccountKubeconfig('default', 'stranger');
    const token = /token: (\S+)/.exec(await readFile(kubeconfig, 'utf8'))?.[1] ?? '';
    expect(token.length).toBeGreaterThan(100);
    const says = [
      /Cannot get etcdsnapshotfiles\.k3s\.cattle\.io local-on-demand-.* in Kubernetes/,
      'system:serviceaccount:default:stranger',
      'the right to "get" etcdsnapshotfiles.k3s.cattle.io (RBAC: a ClusterRole and its binding)',
    ];
    await expectWarning(kubeconfig, says, [token]);
  });

  it('does not know the token', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const token = 'no-token-that-anybody-has-issued';
    const user = /user:\n(?: +client-.*\n)+/;
    const kubeconfig = await rewritten(
      (text) => text.replace(user, `user: { token: ${token} }\n`),
      scene.scratch,
    );
    await expectWarning(kubeconfig, ['Unauthorized', 'Renew the credentials in the kubeconfig'], [token]);
  });

  it('is away', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const [port] = await freePorts(1);
    const address = `https://127.0.0.1:${port}`;
    const kubeconfig = await rewritten((text) => text.replace(/https:\S+/, address), scene.scratch);
    await expectWarning(kubeconfig, [address, 'ECONNREFUSED', 'Check that the API server runs']);
  });

  it('is of another CA', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const ca = /certificate-authority: .*/;
    const kubeconfig = await rewritten(
      (text) => text.replace(ca, `certificate-authority: ${etcd.ca.caFile}`),
      scene.scratch,
    );
    await expectWarning(kubeconfig, [/why: .*certificate/, 'Check certificate-authority in the kubeconfig']);
  });

  it('answers nothing but 503', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    await using front = await startKubeFront(inject('kubeconfig'), scene.scratch);
    front.setRule(() => ({ status: 503 }));
    await expectWarning(front.kubeconfig, ['HTTP status 503', 'see the log of the API server']);
    expect(front.requests.filter(isRecord)).toHaveLength(3);
  });
});

describe('a kubeconfig that', () => {
  it.each([
    {
      what: 'is missing',
      text: undefined,
      says: ['there is no such file', 'Name another one with --kubeconfig'],
    },
    {
      what: 'is something else',
      text: '{{{',
      says: ['it is not a kubeconfig', 'Check the file with kubectl'],
    },
  ])('$what', async ({ text, says }) => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const path = join(scene.scratch, 'kubeconfig');
    if (text !== undefined) await writeFile(path, text);
    await expectWarning(path, [`Cannot read the kubeconfig ${path}`, ...says]);
  });
});

describe('a snapshot that was refused', () => {
  const expectRecord = async (flags: readonly string[], says: string) => {
    const kubeconfig = inject('kubeconfig');
    await using scene = await saveScene({ etcd: etcd.settings(), kubeconfig });
    const result = await scene.run(flags);
    const [record, ...more] = await recordsOfNode(kubeconfig, scene.nodeName);
    expect(more).toEqual([]);
    const message = expect.stringContaining(says);
    expect(record).toMatchObject({
      spec: { nodeName: scene.nodeName, location: '' },
      status: { readyToUse: false, error: { message } },
    });
    await using client = await connect(kubeconfig);
    const { items } = await client.request<{ items: { reason: string; message: string }[] }>({
      method: 'GET',
      path: '/api/v1/namespaces/default/events',
      query: { fieldSelector: `involvedObject.name=${record?.metadata.name}` },
      signal: never,
    });
    expect(items).toMatchObject([{ reason: 'ETCDSnapshotFailed', message }]);
    await scene.aftermath(result, { code: 1, local: 0, says: [says] });
  };

  it('because the member is a learner has a record and an event that say so', async () => {
    await using cluster = await startEtcd();
    const learner = await cluster.addLearner();
    const { caFile, certFile, keyFile } = cluster.settings();
    const flags = [`--etcd-cafile=${caFile}`, `--etcd-certfile=${certFile}`, `--etcd-keyfile=${keyFile}`];
    await expectRecord([`--etcd-servers=${learner}`, ...flags], 'it is a learner');
  });

  it('because etcd is away has a record and an event that say so', async () => {
    const [port] = await freePorts(1);
    await expectRecord([`--etcd-servers=https://127.0.0.1:${port}`], `127.0.0.1:${port}`);
  });

  it('fails for the same reason when the API server is away too, which is told besides', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const [etcdPort, kubePort] = await freePorts(2);
    const address = `https://127.0.0.1:${kubePort}`;
    const kubeconfig = await rewritten((text) => text.replace(/https:\S+/, address), scene.scratch);
    const result = await scene.run([
      `--etcd-servers=https://127.0.0.1:${etcdPort}`,
      `--kubeconfig=${kubeconfig}`,
    ]);
    expect(result.stderr).toMatch(
      new RegExp(`^WARN[^]*${address}[^]*\\n[^ ].*127.0.0.1:${etcdPort}\\n {2}why: `, 'm'),
    );
    await scene.aftermath(result, { code: 1, local: 0, says: ['Check that the API server runs'] });
  });
});

it('a record that others make and change in the same moment is made all the same, and keeps what is theirs', async () => {
  const kubeconfig = inject('kubeconfig');
  await using scene = await saveScene({ etcd: etcd.settings(), kubeconfig });
  await using front = await startKubeFront(kubeconfig, scene.scratch);
  await using client = await connect(kubeconfig);
  const files = createSnapshotFilesApi(client);
  const held = { POST: Promise.withResolvers<void>(), PUT: Promise.withResolvers<void>() };
  const seen = (method: string) => front.requests.filter((one) => isRecord(one) && one.method === method);
  front.setRule((request) => {
    if (!isRecord(request)) return undefined;
    if (request.method !== 'POST' && request.method !== 'PUT') return undefined;
    return seen(request.method).length === 1 ? { after: held[request.method].promise } : undefined;
  });

  const save = scene.start([`--kubeconfig=${front.kubeconfig}`]);
  await save.until(() => seen('POST').length === 1);
  const name = seen('GET')[0]?.path.split('/').at(-1) ?? '';
  const theirs = await files.create(
    {
      apiVersion: 'k3s.cattle.io/v1',
      kind: 'ETCDSnapshotFile',
      metadata: { name, labels: { a: 'b' } },
      spec: { snapshotName: `on-demand-${scene.nodeName}-1`, nodeName: 'other', location: '' },
    },
    never,
  );
  held.POST.resolve();
  await save.until(() => seen('PUT').length === 1);
  await files.update({ ...theirs, metadata: { ...theirs.metadata, annotations: { c: 'd' } } }, never);
  held.PUT.resolve();
  const result = await save.done;

  expect(result.stderr).not.toContain('WARN');
  expect([seen('POST').length, seen('PUT').length]).toEqual([1, 2]);
  const [record, ...more] = await recordsOfNode(kubeconfig, scene.nodeName);
  expect(more).toEqual([]);
  expect(record).toMatchObject({
    metadata: { name, labels: { a: 'b' }, annotations: { c: 'd' } },
    spec: { nodeName: scene.nodeName, location: `file://${scene.dir}/${(await scene.finals())[0]}` },
    status: { readyToUse: true },
  });
  await scene.aftermath(result, { code: 0, local: 1 });
});
