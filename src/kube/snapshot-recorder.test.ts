import { beforeEach, describe, expect, it } from 'vitest';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { fromAnswer } from './api-errors.ts';
import type { KubeRequest } from './api-request.ts';
import type { KubeClient } from './client.ts';
import { createKubeRecorder } from './snapshot-recorder.ts';

const FILES = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';
const never = new AbortController().signal;
const createdAt = new Date('2024-10-30T17:20:16Z');

const local: Snapshot = {
  name: 'on-demand-n1-1730308816',
  nodeName: 'n1',
  createdAt,
  size: 2_891_808,
  compressed: false,
  location: { store: 'local', path: '/snapshots/on-demand-n1-1730308816' },
  tokenHash: 'b4b83cda3099',
};
const failed: Snapshot = { ...local, size: 0, failure: { time: createdAt, message: 'disk full' } };

interface Call {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly urgent: boolean;
}

type Reply = object | { httpStatus: number; reason?: string; name?: string };

/** The wire, faked: one object per path, optimistic locking as the API server does it. */
class FakeApi implements KubeClient {
  readonly server = 'https://fake.invalid';
  readonly calls: Call[] = [];
  readonly objects = new Map<string, { metadata: { name: string; resourceVersion: string } }>();
  /** Returns an answer of its own for a call, or undefined for the usual one. */
  rule: (call: Call, count: number) => Reply | undefined = () => undefined;

  async request<T>(request: KubeRequest): Promise<T> {
    const { method, path, urgent = false } = request;
    const call: Call = { method, path, body: structuredClone(request.body), urgent };
    this.calls.push(call);
    const special = this.rule(call, this.calls.length);
    const reply = special ?? this.#usual(call);
    if ('httpStatus' in reply) {
      const { httpStatus, reason, name } = { reason: '', name: undefined, ...reply };
      const body = JSON.stringify({ kind: 'Status', reason, message: reason, details: { name } });
      throw fromAnswer(request, httpStatus, body);
    }
    return JSON.parse(JSON.stringify(reply));
  }

  watch(): never {
    throw new Error('a recorder watches nothing');
  }

  #usual(call: Call): Reply {
    const sent = call.body as { metadata: { name: string; resourceVersion?: string } } | undefined;
    if (call.method === 'POST' && sent !== undefined) {
      const key = `${call.path}/${sent.metadata.name}`;
      if (this.objects.has(key)) return { httpStatus: 409, reason: 'AlreadyExists', name: key };
      return this.#store(key, sent, '1');
    }
    const stored = this.objects.get(call.path);
    if (stored === undefined) return { httpStatus: 404, reason: 'NotFound', name: call.path };
    if (call.method === 'GET' || sent === undefined) return stored;
    const { resourceVersion } = stored.metadata;
    if (sent.metadata.resourceVersion !== resourceVersion) {
      return { httpStatus: 409, reason: 'Conflict', name: call.path };
    }
    return this.#store(call.path, sent, String(Number(resourceVersion) + 1));
  }

  #store(key: string, object: { metadata: { name: string } }, resourceVersion: string) {
    const stored = { ...object, metadata: { ...object.metadata, uid: 'u-1', resourceVersion } };
    this.objects.set(key, stored);
    return stored;
  }

  record(): ETCDSnapshotFile {
    const [file] = [...this.objects].filter(([path]) => path.startsWith(FILES)).map(([, object]) => object);
    return file as unknown as ETCDSnapshotFile;
  }

  made(method: string, path = ''): Call[] {
    return this.calls.filter((call) => call.method === method && call.path.startsWith(path));
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

let api: FakeApi;
let warnings: Error[];

beforeEach(() => {
  api = new FakeApi();
  warnings = [];
});

function recorder(program: 'k3s' | 'rke2' = 'k3s') {
  return createKubeRecorder(api, {
    program,
    nodeName: 'n1',
    clock: { now: () => createdAt },
    onWarning: (warning) => warnings.push(warning),
  });
}

describe('record', () => {
  it('creates the record and tells it once in an event', async () => {
    await recorder().record(local, never);
    await recorder().record(local, never);
    const file = toSnapshotFile(local, 'k3s');
    expect(api.made('POST', FILES).map((call) => call.body)).toEqual([file]);
    expect(api.made('PUT')).toEqual([]);
    const name = file.metadata.name;
    expect(api.made('POST', '/api/v1').map((call) => call.body)).toEqual([
      {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: expect.stringMatching(new RegExp(`^${name}\\.[0-9a-f]+$`)), namespace: 'default' },
        involvedObject: {
          apiVersion: 'k3s.cattle.io/v1',
          kind: 'ETCDSnapshotFile',
          name,
          uid: 'u-1',
          resourceVersion: '1',
        },
        type: 'Normal',
        reason: 'ETCDSnapshotCreated',
        message: 'Snapshot on-demand-n1-1730308816 saved on n1',
        source: { component: 'k3s-supervisor' },
        reportingComponent: 'k3s-supervisor',
        reportingInstance: 'n1',
        firstTimestamp: '2024-10-30T17:20:16Z',
        lastTimestamp: '2024-10-30T17:20:16Z',
        count: 1,
      },
    ]);
    expect(warnings).toEqual([]);
  });

  it('warns in an event about a failed save, under the name of rke2', async () => {
    await recorder('rke2').record(failed, never);
    expect(api.made('POST', '/api/v1')[0]?.body).toMatchObject({
      type: 'Warning',
      reason: 'ETCDSnapshotFailed',
      message: 'Failed to save snapshot on-demand-n1-1730308816 on n1: disk full',
      source: { component: 'rke2-supervisor' },
    });
  });

  it('cuts a message and an event name that Kubernetes would refuse', async () => {
    const name = 'a'.repeat(230);
    await recorder().record(
      { ...failed, name, failure: { time: createdAt, message: 'x'.repeat(5000) } },
      never,
    );
    const event = api.made('POST', '/api/v1')[0]?.body as { message: string; metadata: { name: string } };
    expect(event.message).toHaveLength(1024);
    expect(event.metadata.name.length).toBeLessThanOrEqual(253);
  });

  it('clears the error of an earlier failure, and keeps what others have set', async () => {
    const path = `${FILES}/${toSnapshotFile(local, 'k3s').metadata.name}`;
    await recorder().record(failed, never);
    const before = api.record();
    const metadata = {
      ...before.metadata,
      resourceVersion: '7',
      labels: { ...before.metadata.labels, team: 'a' },
      annotations: { note: 'keep' },
      finalizers: ['example.com/mine'],
      ownerReferences: [{ uid: 'o-1' }],
    };
    api.objects.set(path, { ...before, metadata });
    await recorder().record(local, never);
    const after = api.record();
    expect(after.status).toEqual({
      size: '2891808',
      creationTime: '2024-10-30T17:20:16Z',
      readyToUse: true,
    });
    expect(after.metadata).toMatchObject({
      labels: { team: 'a', 'etcd.k3s.cattle.io/snapshot-storage-node': 'n1' },
      annotations: { note: 'keep', 'etcd.k3s.cattle.io/snapshot-token-hash': 'b4b83cda3099' },
      finalizers: ['example.com/mine'],
      ownerReferences: [{ uid: 'o-1' }],
    });
    expect(api.made('POST', '/api/v1')).toHaveLength(1);
  });

  it('takes the token hash off a record that turns into a failure', async () => {
    await recorder().record(local, never);
    await recorder().record(failed, never);
    expect(api.record().metadata.annotations).toEqual({});
    expect(api.record().status?.readyToUse).toBe(false);
  });

  it('reads again and retries when somebody else was first', async () => {
    await recorder().record(failed, never);
    let conflicts = 3;
    api.rule = ({ method }) =>
      method === 'PUT' && conflicts-- > 0 ? { httpStatus: 409, reason: 'Conflict', name: 'x' } : undefined;
    await recorder().record(local, never);
    expect(api.made('PUT')).toHaveLength(4);
    expect(api.record().status?.readyToUse).toBe(true);
  });

  it('leaves record and event to the one that created it in the meantime', async () => {
    let raced = false;
    api.rule = ({ method, path }) => {
      if (method !== 'POST' || raced) return undefined;
      raced = true;
      const file = toSnapshotFile(local, 'k3s');
      api.objects.set(`${path}/${file.metadata.name}`, {
        ...file,
        metadata: { ...file.metadata, resourceVersion: '1' },
      });
      return undefined;
    };
    await recorder().record(local, never);
    expect(api.made('POST', FILES)).toHaveLength(1);
    expect(api.made('POST', '/api/v1')).toEqual([]);
  });

  it('tells of a record whose creation was done but not answered', async () => {
    api.rule = (call) => {
      if (call.method !== 'POST' || call.path !== FILES) return undefined;
      const file = call.body as ETCDSnapshotFile;
      const metadata = { ...file.metadata, uid: 'u-1', resourceVersion: '1' };
      api.objects.set(`${FILES}/${file.metadata.name}`, { ...file, metadata });
      return { httpStatus: 503 };
    };
    await recorder().record(local, never);
    expect(api.made('POST', FILES)).toHaveLength(1);
    expect(api.made('PUT')).toEqual([]);
    expect(api.made('POST', '/api/v1')).toMatchObject([{ body: { reason: 'ETCDSnapshotCreated' } }]);
  });

  it('asks an API server that is away three times, and one that refuses once', async () => {
    api.rule = () => ({ httpStatus: 503 });
    await expect(recorder().record(local, never)).rejects.toMatchObject({ code: 'unavailable' });
    expect(api.calls).toHaveLength(3);
    api.rule = () => ({ httpStatus: 403 });
    await expect(recorder().record(local, never)).rejects.toMatchObject({ code: 'forbidden' });
    expect(api.calls).toHaveLength(4);
  });

  it('stops retrying when the signal fires', async () => {
    const stop = new AbortController();
    api.rule = (_, count) => {
      if (count === 2) stop.abort();
      return { httpStatus: 409, reason: 'Conflict', name: 'x' };
    };
    await expect(recorder().record(local, stop.signal)).rejects.toMatchObject({ code: 'aborted' });
    expect(api.calls).toHaveLength(2);
  });

  it('only warns when the event is not taken', async () => {
    api.rule = ({ path }) => (path.endsWith('/events') ? { httpStatus: 403 } : undefined);
    await recorder().record(local, never);
    expect(api.record().spec.snapshotName).toBe(local.name);
    expect(warnings).toMatchObject([{ code: 'forbidden' }]);
  });
});

describe('facts', () => {
  const namespace = '/api/v1/namespaces/kube-system';
  const answers = (map: string, data?: object) => (call: Call) => {
    if (call.path === namespace) return { metadata: { uid: 'c-1' } };
    return call.path.endsWith(`/configmaps/${map}`) && data !== undefined ? { data } : undefined;
  };

  it.each(['k3s', 'rke2'] as const)('reads cluster id and extra metadata of %s', async (program) => {
    api.rule = answers(`${program}-etcd-snapshot-extra-metadata`, { team: 'a' });
    expect(await recorder(program).facts(never)).toEqual({ clusterId: 'c-1', metadata: { team: 'a' } });
  });

  it.each([undefined, {}])('finds nothing noted in the data %j', async (data) => {
    api.rule = answers('k3s-etcd-snapshot-extra-metadata', data);
    expect(await recorder().facts(never)).toEqual({ clusterId: 'c-1' });
    // A save waits for them, and others may write thousands of records meanwhile.
    expect(api.calls.map(({ urgent }) => urgent)).toEqual([true, true]);
    expect(warnings).toEqual([]);
  });

  it('returns what it could get, and warns of the rest', async () => {
    api.rule = (call) => (call.path === namespace ? { metadata: { uid: 'c-1' } } : { httpStatus: 403 });
    expect(await recorder().facts(never)).toEqual({ clusterId: 'c-1' });
    api.rule = () => ({ httpStatus: 503 });
    expect(await recorder().facts(never)).toEqual({});
    expect(warnings.map((warning) => warning.message)).toHaveLength(3);
  });
});
