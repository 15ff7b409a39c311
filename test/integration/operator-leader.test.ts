import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { SeenRequest } from '../support/fault-front.ts';
import { type OperatorScene, startOperatorScene } from '../support/fault-scene.ts';
import { startKubeFront } from '../support/kube-front.ts';
import type { RunningOperator } from '../support/operators.ts';
import { sleep } from '../support/processes.ts';
import { until } from '../support/s3-looks.ts';
import { snapshotBytes } from '../support/store-contract.ts';

const LEASE = 'etcd-snapshot-operator';
/** So that the leader acts on S3 several times a second. */
const busy = { intervalMs: 100 };

let scene: OperatorScene;
let serial = 0;

beforeAll(async () => {
  scene = await startOperatorScene();
});

afterEach(() => scene.endAll());

afterAll(() => scene?.[Symbol.asyncDispose]());

/** Which node's operator sent it: the test bed puts the name into the user agent. */
const senderOf = ({ headers }: SeenRequest) => /app\/(\S+)/.exec(headers['user-agent'] ?? '')?.[1] ?? '';
/** What the leader alone does; any operator sweeps its own unfinished uploads, and asks once whether S3 answers. */
const isAct = ({ path }: SeenRequest) =>
  !/[?&](uploads\b|max-keys=1\b)|etcd-snapshot-operator-asks/.test(path);
const acts = () => scene.front.requests.filter(isAct);
const hasActed = (operator: RunningOperator, after = 0) =>
  acts().some((request) => request.count > after && senderOf(request) === operator.node);

interface Lease {
  readonly spec: { readonly holderIdentity?: string; readonly leaseTransitions?: number };
}

async function lease(): Promise<Lease['spec']> {
  const path = `/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/${LEASE}`;
  const signal = AbortSignal.timeout(30_000);
  return (await scene.client.request<Lease>({ method: 'GET', path, signal })).spec;
}

/** A moment, by the requests up to then and by the times that the Lease had changed hands. */
interface Moment {
  readonly count: number;
  readonly transitions: number;
}

async function mark(count = scene.front.requests.length): Promise<Moment> {
  return { count, transitions: (await lease()).leaseTransitions ?? 0 };
}

/** A leader that acts, and one that waits for its turn. */
async function two(leaseDurationMs = 3_000, kubeconfig = scene.kubeconfig) {
  serial += 1;
  const folder = `leader-${serial}`;
  const plan = { folder, tuning: { ...busy, leaseDurationMs } };
  const began = scene.front.requests.length;
  const leader = await scene.start({ ...plan, node: `first-${serial}`, kubeconfig });
  await until(() => hasActed(leader));
  const since = await mark(began);
  const other = await scene.start({ ...plan, node: `second-${serial}` });
  await other.ready();
  return { folder, leader, other, since };
}

async function objectIn(folder: string) {
  serial += 1;
  const name = `by-hand-somebody-${1_730_308_816 + serial}`;
  const key = { Bucket: scene.bucket, Key: `${folder}/${name}` };
  await scene.s3.client().send(new PutObjectCommand({ ...key, Body: snapshotBytes(2) }));
  const isThere = () =>
    scene.s3
      .client()
      .send(new HeadObjectCommand(key))
      .then(
        () => true,
        () => false,
      );
  const record = await scene.recordOf(name);
  return { name, record, isThere };
}

/** The senders of what was done, without repetitions: `a, b` means that b has done everything after a. */
function turns(after: number): string[] {
  const senders = acts()
    .filter(({ count }) => count > after)
    .map(senderOf);
  return senders.filter((sender, at) => sender !== senders[at - 1]);
}

/**
 * Each time that another one acts the Lease has changed hands before. On a machine that is too slow for it the Lease may
 * change hands when no test asks for it; what must not be is one who acts, and then again the one before.
 */
async function expectNeverTwo({ count, transitions }: Moment): Promise<void> {
  const seen = turns(count);
  const changes = ((await lease()).leaseTransitions ?? 0) - transitions;
  expect({ seen, changes, isOneAtATime: seen.length - 1 <= changes }).toMatchObject({ isOneAtATime: true });
}

describe('one operator looks after S3', () => {
  it('killed: another one takes over, and does what was left undone', async () => {
    const { folder, leader, other, since } = await two();
    const { record, isThere } = await objectIn(folder);
    scene.front.setRule(({ method }) => (method === 'DELETE' ? 'hang' : undefined));
    await scene.deleteRecord(record);
    await until(() => scene.front.requests.some(({ method }) => method === 'DELETE'));
    leader.kill('SIGKILL');
    await leader.exited;
    scene.front.setRule(() => undefined);
    await scene.converge(folder, [leader, other], { objects: 0 });
    expect(await isThere()).toBe(false);
    await expectNeverTwo(since);
  });

  it('frozen and woken: never two that act', async () => {
    const { folder, leader, other, since } = await two();
    for (const [frozen, next] of [
      [leader, other],
      [other, leader],
    ] as const) {
      const before = scene.front.requests.length;
      frozen.kill('SIGSTOP');
      await until(() => hasActed(next, before));
      const woken = await mark();
      frozen.kill('SIGCONT');
      await until(() => acts().filter((request) => request.count > woken.count).length >= 20);
      await expectNeverTwo(woken);
    }
    await expectNeverTwo(since);
    await scene.converge(folder, [leader, other]);
  });

  it('frozen in the middle of a deletion and woken: it does not go on with it', async () => {
    const { folder, leader, other } = await two();
    const { name, record, isThere } = await objectIn(folder);
    const freeze = Promise.withResolvers<void>();
    let asked = false;
    // The question before the deletion is answered while the leader is frozen: the answer is what wakes it.
    scene.front.setRule((request) => {
      const asks = request.method === 'HEAD' && request.path.includes(name);
      if (senderOf(request) !== leader.node || !asks) return undefined;
      asked = true;
      return { after: freeze.promise };
    });
    await scene.cluster.run('annotate', 'etcdsnapshotfile', record, 'etcd.k3s.cattle.io/snapshot-hold=x');
    await scene.deleteRecord(record);
    await scene.cluster.run('annotate', 'etcdsnapshotfile', record, 'etcd.k3s.cattle.io/snapshot-hold-');
    await until(() => asked);
    const before = scene.front.requests.length;
    leader.kill('SIGSTOP');
    await until(() => hasActed(other, before));
    await until(async () => !(await isThere()));
    freeze.resolve();
    await sleep(200);
    const woken = await mark();
    leader.kill('SIGCONT');
    await until(() => acts().filter((request) => request.count > woken.count).length >= 20);
    await expectNeverTwo(woken);
    await scene.converge(folder, [leader, other], { objects: 0 });
    const reasonsOf = async () => (await scene.cluster.events(record)).map(({ reason }) => reason);
    await until(async () => (await reasonsOf()).includes('ETCDSnapshotDeleted'));
    const reasons = await reasonsOf();
    expect(reasons.filter((reason) => reason === 'ETCDSnapshotDeleted')).toHaveLength(1);
    expect(reasons).not.toContain('ETCDSnapshotDeleteFailed');
  });

  it('told to end: the Lease is given back, and the next one need not wait for its end', async () => {
    const { leader, other, since } = await two(600_000);
    expect((await lease()).holderIdentity).toMatch(new RegExp(`^${leader.node}_`));
    leader.kill('SIGTERM');
    await leader.exited;
    expect((await lease()).holderIdentity ?? '').not.toContain(leader.node);
    // A Lease that was not given back would outlast this test.
    await until(() => hasActed(other));
    expect(turns(since.count)).toEqual([leader.node, other.node]);
  });

  it('cut off from the API server: it stops, and the other one takes over', async () => {
    await using kube = await startKubeFront(scene.kubeconfig, scene.scratch);
    const { folder, leader, other, since } = await two(3_000, kube.kubeconfig);
    kube.setRule(() => 'hang');
    await until(() => hasActed(other));
    const taken = scene.front.requests.length;
    await until(() => acts().filter(({ count }) => count > taken).length >= 20);
    kube.setRule(() => undefined);
    await leader.ready();
    await scene.converge(folder, [leader, other]);
    await expectNeverTwo(since);
  });
});
