import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GetObjectCommand, HeadObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { describe, expect, it } from 'vitest';
import { recordKeys } from '../../src/crds/etcd-snapshot-file.ts';
import { etcdFlags, runCommand, startCommand } from '../support/command.ts';
import { sharedScene } from '../support/operator-scene.ts';
import { freePorts } from '../support/processes.ts';
import { until } from '../support/s3-looks.ts';
import { scratchDir } from '../support/scratch.ts';
import { snapshotBytes } from '../support/store-contract.ts';
import { startTcpFront, type TcpFront } from '../support/tcp-front.ts';

const BUCKET = 'etcd';
const keys = recordKeys('k3s');

const bed = sharedScene(BUCKET);

const every = (time: string) => `--snapshot-schedule-cron=@every ${time}`;

async function objects(folder: string): Promise<readonly string[]> {
  const page = await bed.s3
    .client()
    .send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${folder}/`, Delimiter: '/' }));
  return (page.Contents ?? []).map(({ Key = '' }) => Key.slice(folder.length + 1));
}

/** etcd behind a front that can slow it down; the certificate fits, since the front listens on the same address. */
async function slowEtcd(): Promise<TcpFront & { readonly url: string }> {
  const front = await startTcpFront(new URL(bed.scene.plane.etcd.endpoints[0] ?? '').host);
  return Object.assign(front, { url: `https://${front.endpoint}` });
}

describe('a scheduled run', () => {
  it('saves to disk and S3, records, tells, keeps the retention of both, and counts', async () => {
    await bed.scene.cluster.put({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'k3s-etcd-snapshot-extra-metadata', namespace: 'kube-system' },
      data: { team: 'a' },
    });
    const data = await scratchDir('schedule-');
    await mkdir(join(data.path, 'server'), { recursive: true });
    await writeFile(join(data.path, 'server/token'), 'secret\n');
    await using operator = await bed.scene.operator({
      node: 'node-1',
      dataDir: data.path,
      s3: bed.s3.settings(BUCKET, 'runs'),
      args: [every('2s'), '--snapshot-retention=2', '--s3-retention=3'],
    });

    // One run, in all that it leaves behind.
    await until(
      async () => (await operator.metric('save_duration_seconds_count', { status: 'success' })) >= 1,
    );
    const [first = ''] = (await readdir(operator.dir)).filter((name) =>
      /^etcd-snapshot-node-1-\d+$/.test(name),
    );
    expect(first).not.toBe('');
    const records = async () =>
      (await bed.scene.cluster.records(first)).toSorted((a, b) =>
        a.spec.nodeName < b.spec.nodeName ? -1 : 1,
      );
    await until(async () => (await records()).length === 2);
    const [local, remote] = await records();
    const hash = { [keys.tokenHash]: '2bb80d537b1d' };
    expect(local).toMatchObject({
      metadata: { annotations: hash },
      spec: { nodeName: 'node-1', location: `file://${join(operator.dir, first)}`, metadata: { team: 'a' } },
      status: { readyToUse: true },
    });
    expect(remote).toMatchObject({
      metadata: { annotations: { ...hash, [keys.sourceNode]: 'node-1' } },
      spec: { nodeName: 's3', location: `s3://${BUCKET}/runs/${first}`, metadata: { team: 'a' } },
      status: { readyToUse: true, size: local?.status?.size },
    });
    expect(await bed.scene.told(local?.metadata.name ?? '', 'ETCDSnapshotCreated')).toMatch(
      / saved on node-1$/,
    );
    expect(await bed.scene.told(remote?.metadata.name ?? '', 'ETCDSnapshotCreated')).toMatch(/ saved on S3$/);
    const beside = await readFile(join(data.path, 'server/db/.metadata', first), 'utf8');
    expect(JSON.parse(beside)).toEqual({ team: 'a' });
    const sidecar = await bed.s3
      .client()
      .send(new GetObjectCommand({ Bucket: BUCKET, Key: `runs/.metadata/${first}` }));
    expect(JSON.parse((await sidecar.Body?.transformToString()) ?? '')).toEqual({ team: 'a' });
    const head = await bed.s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: `runs/${first}` }));
    expect(head.Metadata).toEqual({
      'k3s-cluster-id': bed.scene.clusterId,
      'k3s-node-name': 'node-1',
      'k3s-token-hash': hash[keys.tokenHash],
      'etcd-snapshot-upload': expect.stringMatching(/^[0-9a-f]{32}$/),
    });

    // The metadata are read anew for each run.
    const map = 'configmap/k3s-etcd-snapshot-extra-metadata';
    await bed.scene.cluster.run('patch', map, '-n=kube-system', '--type=merge', '-p={"data":{"team":"b"}}');
    await until(async () =>
      (await bed.scene.cluster.records()).some(({ spec }) => spec.metadata?.['team'] === 'b'),
    );

    // Enough runs for both retentions to bite: the first snapshot is one too many for each.
    await bed.scene.gone(first);
    await until(async () => (await operator.metric('deletions_total', { store: 's3' })) > 0);
    expect(await operator.metric('deletions_total', { store: 'local' })).toBeGreaterThan(0);
    expect(await objects('runs')).not.toContain(first);
    expect(await readdir(join(data.path, 'server/db/.metadata'))).not.toContain(first);

    const series = { schedule: 'etcd-snapshot', store: 's3' };
    const since = Number(first.split('-').at(-1));
    expect(await operator.metric('last_success_timestamp_seconds', series)).toBeGreaterThan(since);
    expect(await operator.metric('next_run_timestamp_seconds', series)).toBeGreaterThan(since);
    for (const timed of ['save_local', 'save_s3', 'reconcile', 'reconcile_local', 'reconcile_s3']) {
      const count = await operator.metric(`${timed}_duration_seconds_count`, { status: 'success' });
      expect([timed, count > 0]).toEqual([timed, true]);
    }

    // Told to end between two runs, or in one: it finishes, and what is left is what the retention allows.
    expect(await operator.stop()).toBe(0);
    const left = (await readdir(operator.dir)).filter((name) => !name.startsWith('.'));
    expect(left.length).toBeLessThanOrEqual(3);
    expect(left.every((name) => /^etcd-snapshot-node-1-\d+$/.test(name))).toBe(true);
    await data[Symbol.asyncDispose]();
  });

  it.each([
    ['a learner', () => bed.scene.plane.etcd.addLearner(), 'it is a learner'],
    ['a dead etcd', async () => `https://127.0.0.1:${(await freePorts(1))[0]}`, '127.0.0.1'],
  ])(
    '%s is a recorded reason: in a record, an Event, the readiness and a metric',
    async (what, start, why) => {
      const node = `of-${what.replaceAll(' ', '-')}`;
      await using operator = await bed.scene.operator({
        node,
        etcd: await start(),
        args: [every('1s'), '--name=tried'],
      });
      await until(async () => (await bed.scene.cluster.records(`tried-${node}-`)).length > 0);
      const [record] = await bed.scene.cluster.records(`tried-${node}-`);
      expect(record).toMatchObject({
        spec: { nodeName: node, location: '' },
        status: { readyToUse: false, size: '0', error: { message: expect.stringContaining(why) } },
      });
      const message = await bed.scene.told(record?.metadata.name ?? '', 'ETCDSnapshotFailed');
      expect(message).toContain(why);
      expect(await operator.part('etcd', false)).toContain(why);
      expect(await operator.part('schedule', false)).toContain(why);
      await until(
        async () => (await operator.metric('save_duration_seconds_count', { status: 'error' })) > 0,
      );
      expect((await operator.get('/readyz')).status).toBe(200);
      expect((await readdir(operator.dir)).filter((name) => name.startsWith('tried'))).toEqual([]);
    },
  );

  it('is skipped while the last one still runs, says so, and the next one comes as usual', async () => {
    await using front = await slowEtcd();
    await using operator = await bed.scene.operator({ node: 'slow', etcd: front.url, args: [every('1s')] });
    await operator.ready();
    front.throttle(100_000);
    await until(async () => (await operator.log()).includes('A scheduled snapshot is skipped'));
    const drafts = (await readdir(operator.dir)).filter((name) => name.startsWith('.etcd-snapshot-slow-'));
    expect(drafts.length).toBeLessThanOrEqual(1);
    const before = await operator.metric('save_duration_seconds_count', { status: 'success' });
    front.heal();
    await until(
      async () => (await operator.metric('save_duration_seconds_count', { status: 'success' })) > before + 1,
    );
    expect(await operator.metric('save_duration_seconds_count', { status: 'error' })).toBe(0);
  });
});

describe('the schedule of the flags', () => {
  it('that means nothing is refused at the start, by name and with a cure', async () => {
    const { code, stderr } = await runCommand(['operator', '--snapshot-schedule-cron=0 0 31 2 *']);
    expect(code).toBe(2);
    expect(stderr).toContain('--snapshot-schedule-cron');
    expect(stderr).toContain('0 0 31 2 *');
    expect(stderr).toContain('Write five fields');
  });

  it('is every twelve hours unless something else is said, and the command ends with 0 on SIGTERM', async () => {
    await using data = await scratchDir('defaults-');
    const [port] = await freePorts(1);
    const running = startCommand([
      'operator',
      '--distribution=k3s',
      `--data-dir=${data.path}`,
      '--node-name=defaults',
      `--kubeconfig=${bed.scene.plane.kubeconfig}`,
      `--listen-address=127.0.0.1:${port}`,
      ...etcdFlags(bed.scene.plane.etcd.settings()),
    ]);
    const text = async () =>
      fetch(`http://127.0.0.1:${port}/metrics`).then(
        (answer) => answer.text(),
        () => '',
      );
    const next =
      /^k3s_etcd_snapshot_next_run_timestamp_seconds\{schedule="etcd-snapshot",store="local"\} (\d+)$/m;
    await running.until(async () => next.test(await text()));
    const at = new Date(Number(next.exec(await text())?.[1]) * 1000);
    expect([at.getHours() % 12, at.getMinutes(), at.getSeconds()]).toEqual([0, 0, 0]);
    running.child.kill('SIGTERM');
    expect((await running.done).code).toBe(0);
  });
});

describe('after a restart', () => {
  const hoursAgo = (hours: number) => Math.floor(Date.now() / 1000) - hours * 3600;
  const taken = async (node: string, hours: number) => {
    const data = await scratchDir('restart-');
    await mkdir(join(data.path, 'server/db/snapshots'), { recursive: true, mode: 0o700 });
    const last = `etcd-snapshot-${node}-${hoursAgo(hours)}`;
    await writeFile(join(data.path, 'server/db/snapshots', last), snapshotBytes(2), { mode: 0o600 });
    return { data, last };
  };
  const series = { schedule: 'etcd-snapshot', store: 'local' };

  it('a run that fell due while no operator ran is taken at once', async () => {
    const { data, last } = await taken('missed', 13);
    await using operator = await bed.scene.operator({
      node: 'missed',
      dataDir: data.path,
      args: [every('12h')],
    });
    await until(async () =>
      (await readdir(operator.dir)).some((name) => /^etcd-snapshot-missed-\d+$/.test(name) && name !== last),
    );
    await data[Symbol.asyncDispose]();
  });

  it('one that is not due is not taken, and metrics still say when the last one was and when the next one is', async () => {
    const { data, last } = await taken('in-time', 5);
    const at = Number(last.split('-').at(-1));
    await using operator = await bed.scene.operator({
      node: 'in-time',
      dataDir: data.path,
      args: [every('12h')],
    });
    await until(async () => (await operator.metric('next_run_timestamp_seconds', series)) > 0);
    expect(await operator.metric('next_run_timestamp_seconds', series)).toBe(at + 12 * 3600);
    expect(await operator.metric('last_success_timestamp_seconds', series)).toBe(at);
    expect(await operator.metric('save_duration_seconds_count')).toBe(0);
    await data[Symbol.asyncDispose]();
  });
});

describe('SIGTERM in mid-snapshot', () => {
  const inTheMiddle = (dir: string) => async () =>
    (await readdir(dir)).some((name) => name.startsWith('.etcd-snapshot-'));

  it('lets it finish within the grace period, with its record, and ends with 0', async () => {
    await using front = await slowEtcd();
    await using operator = await bed.scene.operator({
      node: 'finishes',
      etcd: front.url,
      args: [every('1s')],
    });
    await operator.ready();
    front.throttle(20_000);
    await until(inTheMiddle(operator.dir));
    operator.kill('SIGTERM');
    await until(async () => (await operator.log()).includes('a running snapshot may finish'));
    front.heal();
    expect(await operator.exited).toBe(0);
    const names = (await readdir(operator.dir)).filter((name) => !name.startsWith('.'));
    for (const name of names) await bed.scene.recordOf(name);
    const log = await operator.log();
    expect(log.slice(log.indexOf('a running snapshot may finish'))).toContain('Snapshot saved');
    expect(await inTheMiddle(operator.dir)()).toBe(false);
  });

  it('aborts it after the grace period, leaves nothing half-made, gives the Lease back and ends with 0', async () => {
    await using front = await slowEtcd();
    await using operator = await bed.scene.operator({
      node: 'aborted',
      etcd: front.url,
      args: [every('1s'), '--name=cut', '--grace-period=1s'],
    });
    await operator.ready();
    await until(async () => (await operator.metric('leader')) === 1);
    front.throttle(10_000);
    const draft = async () => (await readdir(operator.dir)).some((name) => name.startsWith('.cut-'));
    await until(draft);
    const done = await operator.metric('save_duration_seconds_count', { status: 'success' });
    expect(await operator.stop()).toBe(0);
    expect(await operator.log()).toContain('the grace period is over');
    const failed = (await bed.scene.cluster.records('cut-aborted-')).filter(
      ({ status }) => status?.error !== undefined,
    );
    expect(failed).toMatchObject([
      { spec: { location: '' }, status: { error: { message: expect.stringContaining('told to end') } } },
    ]);
    expect(await bed.scene.told(failed[0]?.metadata.name ?? '', 'ETCDSnapshotFailed')).toContain(
      'told to end',
    );
    const files = await readdir(operator.dir);
    expect(files.filter((name) => !/^cut-aborted-\d+$/.test(name))).toEqual([]);
    expect(files).toHaveLength(done);
    const lease = await bed.scene.cluster.get<{ spec: { holderIdentity?: string } }>(
      '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/etcd-snapshot-operator',
    );
    expect(lease.spec.holderIdentity ?? '').toBe('');
  });
});
