import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { describe, expect, it } from 'vitest';
import { SEED_FINALIZER } from '../../src/crds/etcd-snapshot-file.ts';
import { s3Env, s3Flags } from '../support/command.ts';
import { freePorts } from '../support/processes.ts';
import { type SnapshotScene, sharedPlaces, snapshotScene } from '../support/snapshot-scene.ts';

const HOLD = { 'etcd.k3s.cattle.io/snapshot-hold': 'for the auditor' };

const places = sharedPlaces();

let serial = 0;
const name = (scene: SnapshotScene, seconds: number) => `on-demand-${scene.node}-${seconds}`;
const inCluster = (withS3 = true) => {
  serial += 1;
  return snapshotScene({
    node: `delete-${serial}`,
    kube: places.kube,
    ...(withS3 ? { s3: places.s3 } : {}),
  });
};

async function eventsOf(record: string): Promise<string[]> {
  const { items } = await places.kube.client.request<{ items: { reason: string; message: string }[] }>({
    method: 'GET',
    path: '/api/v1/namespaces/default/events',
    query: { fieldSelector: `involvedObject.name=${record}` },
    signal: AbortSignal.timeout(10_000),
  });
  return items.map(({ reason, message }) => `${reason}: ${message}`);
}

describe('etcd-snapshot delete', () => {
  it('deletes file, object, sidecars and records, tells it as an Event, and touches nothing else', async () => {
    await using scene = await inCluster();
    const [gone, stays] = [name(scene, 1), name(scene, 2)];
    for (const one of [gone, stays]) {
      await scene.onDisk(one, { finalizers: [SEED_FINALIZER] });
      await scene.onS3(one);
    }
    const before = await scene.records();
    const { code, stdout, stderr } = await scene.run('delete', gone);
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: '' });
    expect(stderr.match(new RegExp(`^INFO\\[\\d{4}\\] Snapshot ${gone} deleted\\.`, 'gm'))).toHaveLength(2);
    expect(await scene.left()).toEqual({
      disk: [stays],
      sidecars: [stays],
      s3: [`.metadata/${stays}`, stays],
    });
    expect((await scene.records()).map(({ spec }) => spec.snapshotName)).toEqual([stays, stays]);
    const records = before.filter(({ spec }) => spec.snapshotName === gone);
    for (const { metadata } of records) {
      expect(await eventsOf(metadata.name)).toEqual([`ETCDSnapshotDeleted: Snapshot ${gone} deleted`]);
    }
  });

  it('deletes several, says which was not found, and ends with 1 then', async () => {
    await using scene = await inCluster();
    await scene.onDisk(name(scene, 1));
    await scene.onS3(name(scene, 2));
    const { code, stderr } = await scene.run('delete', name(scene, 1), name(scene, 2), name(scene, 3));
    expect(code, stderr).toBe(1);
    expect(stderr).toMatch(new RegExp(`^WARN\\[\\d{4}\\] Snapshot ${name(scene, 3)} not found\\.`, 'm'));
    expect(stderr).toContain(scene.dir);
    expect(await scene.left()).toEqual({ disk: [], sidecars: [], s3: [] });
    expect(await scene.records()).toEqual([]);
  });

  it.each(['../etcd', '/etc/passwd', 'a/b', '.', '..', '', '.hidden', 'a\\b'])(
    'refuses %j, and deletes nothing of what else was named',
    async (bad) => {
      await using scene = await inCluster(false);
      await scene.onDisk(name(scene, 1));
      await writeFile(join(dirname(scene.dir), 'etcd'), 'the database');
      const { code, stderr } = await scene.run('delete', name(scene, 1), bad);
      expect(code, stderr).toBe(2);
      expect(stderr).toContain('is no name of a snapshot');
      expect(await readFile(join(dirname(scene.dir), 'etcd'), 'utf8')).toBe('the database');
      expect(await readdir(scene.dir)).toEqual([name(scene, 1)]);
      expect(await scene.records()).toHaveLength(1);
    },
  );

  it('asks for a name', async () => {
    await using scene = await inCluster(false);
    expect(await scene.run('delete')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('no snapshot is named'),
    });
  });

  it('leaves alone what is no snapshot, on disk and on S3, and ends with 1', async () => {
    await using scene = await inCluster();
    await writeFile(join(scene.dir, 'notes.txt'), 'x');
    await mkdir(join(scene.dir, 'folder'));
    await symlink('/etc/hostname', join(scene.dir, 'on-demand-link-1'));
    await scene.onS3(name(scene, 1));
    await places.s3.server
      .client()
      .send(new PutObjectCommand({ Bucket: 'etcd', Key: `${scene.node}/notes.txt`, Body: 'x' }));
    for (const foreign of ['notes.txt', 'folder', 'on-demand-link-1']) {
      const { code, stderr } = await scene.run('delete', foreign);
      expect(code, stderr).toBe(1);
      expect(stderr).toMatch(/^ERRO[\s\S]*why: [\s\S]*do: /m);
    }
    expect(await readdir(scene.dir)).toHaveLength(3);
    expect((await scene.left()).s3).toContain('notes.txt');
  });

  it('leaves what somebody holds, copy by copy, and says who to ask', async () => {
    await using scene = await inCluster();
    const held = name(scene, 1);
    await scene.onDisk(held, { annotations: HOLD });
    await scene.onS3(held);
    const { code, stderr } = await scene.run('delete', held);
    expect(code, stderr).toBe(1);
    expect(stderr).toMatch(/^ERRO[\s\S]*put a hold on its record local-/m);
    expect(await scene.left()).toMatchObject({ disk: [held], sidecars: [held], s3: [] });
    expect((await scene.records()).map(({ metadata }) => metadata.name.split('-')[0])).toEqual(['local']);
  });

  it("leaves another cluster's object of the same name", async () => {
    await using scene = await inCluster();
    await scene.onS3(name(scene, 1), { cluster: 'of-somebody-else', record: false });
    const { code, stderr } = await scene.run('delete', name(scene, 1));
    expect(code, stderr).toBe(1);
    expect(stderr).toContain('it is of cluster of-somebody-else');
    expect((await scene.left()).s3).toContain(name(scene, 1));
  });

  it('frees the disk while the API server is away, but touches nothing on S3', async () => {
    await using scene = await inCluster();
    await scene.onDisk(name(scene, 1), { record: false });
    await scene.onS3(name(scene, 1), { record: false });
    const [port] = await freePorts(1);
    const away = join(dirname(scene.dir), 'kubeconfig');
    const config = await readFile(places.kube.kubeconfig, 'utf8');
    await writeFile(away, config.replace(/server: \S+/, `server: https://127.0.0.1:${port}`), {
      mode: 0o600,
    });
    const { code, stderr } = await scene.run(`--kubeconfig=${away}`, 'delete', name(scene, 1));
    expect(code, stderr).toBe(1);
    expect(stderr).toMatch(/^WARN[\s\S]*records of the cluster cannot be read/m);
    expect(stderr).toMatch(/^ERRO[\s\S]*on S3 is not deleted/m);
    const left = await scene.left();
    expect(left.disk).toEqual([]);
    expect(left.s3).toContain(name(scene, 1));
  });

  it('removes the record that an earlier, interrupted delete left', async () => {
    await using scene = await inCluster();
    await scene.onDisk(name(scene, 1));
    await scene.onS3(name(scene, 1));
    await rm(join(scene.dir, name(scene, 1)));
    const { code, stderr } = await scene.run('delete', name(scene, 1));
    expect(code, stderr).toBe(0);
    expect(await scene.records()).toEqual([]);
    expect(await scene.left()).toEqual({ disk: [], sidecars: [], s3: [] });
  });

  it('marks the record that somebody applied, instead of fighting for its end', async () => {
    await using scene = await inCluster(false);
    await scene.onDisk(name(scene, 1));
    const [record] = await scene.records();
    const { metadata, spec, apiVersion, kind } = record ?? {};
    await places.kube.client.request({
      method: 'PATCH',
      path: `/apis/k3s.cattle.io/v1/etcdsnapshotfiles/${metadata?.name}`,
      query: { fieldManager: 'argocd', force: 'true' },
      contentType: 'application/apply-patch+yaml',
      body: { apiVersion, kind, metadata: { name: metadata?.name }, spec },
      signal: AbortSignal.timeout(10_000),
    });
    const { code, stderr } = await scene.run('delete', name(scene, 1));
    expect(code, stderr).toBe(0);
    expect(await scene.records()).toMatchObject([
      { status: { readyToUse: false, error: { message: 'the snapshot is not there' } } },
    ]);
  });

  it('deletes on disk when S3 refuses, ends with 1, and shows no key', async () => {
    await using scene = await inCluster(false);
    await scene.onDisk(name(scene, 1));
    const settings = places.s3.server.settings('etcd', scene.node);
    const key = 'not-the-secret';
    const { code, stderr } = await scene.run(
      ...s3Flags(settings),
      '--etcd-s3-access-key=k',
      `--s3-secret-key=${key}`,
      'delete',
      name(scene, 1),
    );
    expect(code, stderr).toBe(1);
    expect(stderr).toMatch(/^INFO.* deleted\./m);
    expect(stderr).toMatch(/^ERRO/m);
    expect(stderr).not.toContain(key);
    expect(stderr).not.toContain(Object.values(s3Env(settings))[1]);
    expect(await readdir(scene.dir)).toEqual([]);
  });
});
