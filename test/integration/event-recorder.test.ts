import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toSnapshotFile } from '../../src/crds/mapping.ts';
import { connect, type KubeClient } from '../../src/kube/client.ts';
import type { KubeEvent } from '../../src/kube/event-object.ts';
import { createEventRecorder, type EventRecorder } from '../../src/kube/event-recorder.ts';
import { createSnapshotFilesApi } from '../../src/kube/snapshot-files-api.ts';
import { systemTimers } from '../../src/timers.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const never = new AbortController().signal;

let plane: ControlPlane;
let client: KubeClient;
beforeAll(async () => {
  plane = await startControlPlane();
  client = await connect(plane.kubeconfig);
});
afterAll(async () => {
  await client?.[Symbol.asyncDispose]();
  await plane?.[Symbol.asyncDispose]();
});

function recorderOf(through: KubeClient, warnings: Error[] = []): EventRecorder {
  const onWarning = (warning: Error) => warnings.push(warning);
  const options = { program: 'k3s', instance: 'n1', timers: systemTimers, onWarning } as const;
  return createEventRecorder({ client: through, ...options });
}

/** The event of a record that is there. */
async function eventOf(nodeName: string): Promise<KubeEvent> {
  const name = `events-${nodeName}-1730308816`;
  const createdAt = new Date('2024-10-30T17:20:16Z');
  const location = { store: 'local', path: `/snapshots/${name}` } as const;
  const file = toSnapshotFile({ name, nodeName, createdAt, size: 1, compressed: false, location }, 'k3s');
  const { apiVersion, kind, metadata } = await createSnapshotFilesApi(client).create(file, never);
  const object = { apiVersion, kind, name: metadata.name, uid: metadata.uid };
  return { object, type: 'Warning', reason: 'ETCDSnapshotDeleteFailed', message: 'S3 is away' };
}

async function kubectl(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await plane.kubectl(args);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout;
}

const eventsOf = (name: string, namespace: string, ...output: string[]) =>
  kubectl('get', 'events', '-n', namespace, '--field-selector', `involvedObject.name=${name}`, ...output);

describe('events', () => {
  it('that are equal are one, and kubectl shows how many there were', async () => {
    const event = await eventOf('equal');
    const recorder = recorderOf(client);
    for (let i = 0; i < 100; i += 1) {
      recorder.emit(event);
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await recorder.flush(never);
    const columns = ['-o', 'custom-columns=C:.count,T:.type,R:.reason,F:.source.component', '--no-headers'];
    const table = await eventsOf(event.object.name, 'default', ...columns);
    expect(table.trim().split(/ +/)).toEqual([
      '100',
      'Warning',
      'ETCDSnapshotDeleteFailed',
      'k3s-supervisor',
    ]);
    const described = await kubectl('describe', 'etcdsnapshotfile', event.object.name);
    expect(described).toMatch(
      /Warning +ETCDSnapshotDeleteFailed +.*\(x100 over .*k3s-supervisor +S3 is away/,
    );
  });

  it('are made anew when the first one has expired', async () => {
    const event = await eventOf('expired');
    const recorder = recorderOf(client);
    recorder.emit(event);
    await recorder.flush(never);
    await kubectl('delete', 'events', '-n', 'default', '--all');
    recorder.emit(event);
    await recorder.flush(never);
    const counts = await eventsOf(event.object.name, 'default', '-o', 'jsonpath={.items[*].count}');
    expect(counts).toBe('2');
  });

  it('are in the namespace of their object, or in default', async () => {
    await kubectl('create', 'secret', 'generic', 's3-settings', '-n', 'kube-system');
    const object = { apiVersion: 'v1', kind: 'Secret', name: 's3-settings', namespace: 'kube-system' };
    const record = await eventOf('namespaces');
    const recorder = recorderOf(client);
    recorder.emit({ object, type: 'Warning', reason: 'InvalidS3Config', message: 'Fix it' });
    recorder.emit(record);
    await recorder.flush(never);
    const names = (name: string, namespace: string) => eventsOf(name, namespace, '-o', 'name');
    expect((await names('s3-settings', 'kube-system')).trim().split('\n')).toHaveLength(1);
    expect((await names(record.object.name, 'default')).trim().split('\n')).toHaveLength(1);
  });

  it('of one object are limited', async () => {
    const event = await eventOf('limited');
    const warnings: Error[] = [];
    const recorder = recorderOf(client, warnings);
    for (let i = 0; i < 40; i += 1) recorder.emit({ ...event, message: `${i}` });
    await recorder.flush(never);
    const names = await eventsOf(event.object.name, 'default', '-o', 'name');
    expect(names.trim().split('\n')).toHaveLength(25);
    expect(warnings).toMatchObject([{ code: 'busy' }]);
  });

  it('need the right to create and patch them, and nothing else', async () => {
    const event = await eventOf('rights');
    await using teller = await connect(await plane.serviceAccountKubeconfig('kube-system', 'teller'));
    const warnings: Error[] = [];
    const recorder = recorderOf(teller, warnings);
    recorder.emit(event);
    await recorder.flush(never);
    expect(warnings).toMatchObject([
      { code: 'forbidden', hint: expect.stringContaining('the right to "create" events') },
    ]);
    const role = ['teller', '-n', 'default'];
    await kubectl('create', 'role', ...role, '--verb=create,patch', '--resource=events');
    const account = '--serviceaccount=kube-system:teller';
    await kubectl('create', 'rolebinding', ...role, '--role=teller', account);
    for (let i = 0; i < 3; i += 1) {
      recorder.emit(event);
      await recorder.flush(never);
    }
    const counts = await eventsOf(event.object.name, 'default', '-o', 'jsonpath={.items[*].count}');
    expect(counts).toBe('3');
  });
});

describe('an API server that hangs', () => {
  it('blocks neither emit nor the end, and gets the event when it answers again', async () => {
    const event = await eventOf('hangs');
    await using front = await startTcpFront(new URL(plane.url).host);
    await using hanging = await connect(await plane.kubeconfigVia(`https://${front.endpoint}`));
    const recorder = recorderOf(hanging);
    front.hang();
    recorder.emit(event);
    const stop = new AbortController();
    const flushing = recorder.flush(stop.signal);
    stop.abort();
    await flushing;

    recorder.emit(event);
    front.heal();
    front.reset();
    recorder.emit(event);
    await recorder.flush(never);
    const counts = await eventsOf(event.object.name, 'default', '-o', 'jsonpath={.items[*].count}');
    expect(counts).toBe('2');
  });

  it('gets the events of its absence when it is started again', async () => {
    const event = await eventOf('restarted');
    const warnings: Error[] = [];
    const recorder = recorderOf(client, warnings);
    plane.kill('SIGKILL');
    for (let i = 0; i < 10; i += 1) recorder.emit(event);
    await plane.restart();
    await expect
      .poll(() => eventsOf(event.object.name, 'default', '-o', 'jsonpath={.items[*].count}'), {
        timeout: 60_000,
      })
      .toBe('10');
    expect(warnings).toEqual([]);
  });
});
