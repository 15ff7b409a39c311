import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startFaultFront } from '../support/fault-front.ts';
import { freePorts } from '../support/processes.ts';
import { type SnapshotScene, sharedPlaces, snapshotScene } from '../support/snapshot-scene.ts';

const HOLD = { 'etcd.k3s.cattle.io/snapshot-hold': '' };

const places = sharedPlaces();

let serial = 0;
const sceneOf = (parts: { kube?: boolean; s3?: boolean }) => {
  serial += 1;
  return snapshotScene({
    node: `prune-${serial}`,
    ...(parts.kube === true ? { kube: places.kube } : {}),
    ...(parts.s3 === true ? { s3: places.s3 } : {}),
  });
};
const names = (scene: SnapshotScene, seconds: readonly number[], base = 'on-demand') =>
  seconds.map((one) => `${base}-${scene.node}-${one}`);
const seven = [1, 2, 3, 4, 5, 6, 7];

describe('etcd-snapshot prune', () => {
  it('leaves the newest five made with save on this disk, without a cluster, and says why the others went', async () => {
    await using scene = await sceneOf({});
    for (const one of [...names(scene, seven), ...names(scene, [1], 'etcd-snapshot')])
      await scene.onDisk(one);
    const { code, stdout, stderr } = await scene.run('prune');
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: '' });
    const stay = [...names(scene, [1], 'etcd-snapshot'), ...names(scene, [3, 4, 5, 6, 7])].toSorted();
    expect(await scene.left()).toMatchObject({ disk: stay, sidecars: stay });
    const [oldest = '', next = ''] = names(scene, seven);
    expect(stderr).toMatch(
      new RegExp(`^INFO.*${oldest} deleted\\..*why="number 7 of 7, newest first, of which 5 are kept"`, 'm'),
    );
    expect(stderr).toMatch(new RegExp(`^INFO.*${next} deleted\\..*number 6 of 7`, 'm'));
  });

  it('counts as --snapshot-retention says, in both spellings, and for the base name of --name', async () => {
    await using scene = await sceneOf({ kube: true });
    for (const one of [...names(scene, seven), ...names(scene, seven, 'nightly')]) await scene.onDisk(one);
    expect(await scene.run('prune', '--name', 'nightly', '--snapshot-retention', '2')).toMatchObject({
      code: 0,
    });
    const left = await scene.left();
    expect(left.disk).toEqual([...names(scene, [6, 7], 'nightly'), ...names(scene, seven)].toSorted());
    expect((await scene.records()).map(({ spec }) => spec.snapshotName).toSorted()).toEqual(left.disk);
    expect(await scene.run('--etcd-snapshot-retention=6', 'prune')).toMatchObject({ code: 0 });
    expect((await scene.left()).disk).toEqual(
      [...names(scene, [6, 7], 'nightly'), ...names(scene, seven.slice(1))].toSorted(),
    );
  });

  it('only tells in a dry run: what would go, what stays and why, as a table on stdout', async () => {
    await using scene = await sceneOf({ kube: true });
    for (const one of names(scene, seven))
      await scene.onDisk(one, one.endsWith('-1') ? { annotations: HOLD } : {});
    const before = await scene.left();
    const { code, stdout, stderr } = await scene.run('prune', '--dry-run', '--snapshot-retention=4');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/ +/));
    expect(rows[0]).toEqual(['Verdict', 'Name', 'Location', 'Why']);
    const verdicts = rows.slice(1).map(([verdict, name, location]) => [verdict, name, location]);
    const row = (verdict: string, seconds: number) => {
      const [one = ''] = names(scene, [seconds]);
      return [verdict, one, `file://${scene.dir}/${one}`];
    };
    expect(verdicts).toEqual([
      ...[2, 3].map((one) => row('delete', one)),
      ...[7, 6, 5, 4, 1].map((one) => row('keep', one)),
    ]);
    expect(stdout).toMatch(/^keep .*-1 .* it is held$/m);
    expect(stdout).toMatch(/^delete .*-2 .* number 6 of 6, newest first, of which 4 are kept$/m);
    const document = await scene.run('prune', '--dry-run', '--snapshot-retention=4', '-o', 'json');
    const [second = ''] = names(scene, [2]);
    const { dryRun, stores } = JSON.parse(document.stdout);
    expect([dryRun, stores.length]).toEqual([true, 1]);
    expect(stores[0]).toMatchObject({ store: 'local', retention: 4, deleted: [], failed: [] });
    expect(stores[0].delete[0]).toEqual({
      name: second,
      location: `file://${scene.dir}/${second}`,
      why: 'number 6 of 6, newest first, of which 4 are kept',
    });
    expect([stores[0].delete.length, stores[0].keep.length]).toEqual([2, 5]);
    expect(await scene.left()).toEqual(before);
    expect(await scene.records()).toHaveLength(7);
  });

  it('never deletes what is held, nor counts it, and takes the records along', async () => {
    await using scene = await sceneOf({ kube: true });
    for (const one of names(scene, seven))
      await scene.onDisk(one, one.endsWith('-1') ? { annotations: HOLD } : {});
    expect(await scene.run('prune', '--snapshot-retention=2')).toMatchObject({ code: 0 });
    const { disk } = await scene.left();
    expect(disk).toEqual(names(scene, [1, 6, 7]));
    expect((await scene.records()).map(({ spec }) => spec.snapshotName).toSorted()).toEqual(disk);
  });

  it('prunes S3 too when asked: each node on its own, and only objects of this cluster', async () => {
    await using scene = await sceneOf({ kube: true, s3: true });
    for (const one of names(scene, seven)) await scene.onS3(one);
    const ofOther = [1, 2, 3].map((one) => `on-demand-${scene.node}-b-${one}`);
    for (const one of ofOther) await scene.onS3(one, { node: `${scene.node}-b` });
    const foreign = names(scene, [10, 11, 12]);
    for (const one of foreign) await scene.onS3(one, { cluster: 'of-somebody-else', record: false });
    const { code, stderr } = await scene.run('prune', '--snapshot-retention=3', '--etcd-s3-retention=2');
    expect(code, stderr).toBe(0);
    const stay = [...names(scene, [6, 7]), ...ofOther.slice(1), ...foreign].toSorted();
    const { s3: left } = await scene.left();
    expect(left.filter((key) => !key.startsWith('.'))).toEqual(stay);
    expect(left.filter((key) => key.startsWith('.'))).toEqual(stay.map((one) => `.metadata/${one}`));
    expect(await scene.records()).toHaveLength(4);
  });

  it('prunes the disk alone, and says why with 1, when no cluster tells whose the objects are', async () => {
    await using scene = await sceneOf({ s3: true });
    for (const one of names(scene, seven)) {
      await scene.onDisk(one);
      await scene.onS3(one);
    }
    const { code, stderr } = await scene.run('prune');
    expect(code, stderr).toBe(1);
    expect(stderr).toMatch(/^ERRO.*Nothing on S3 is pruned[\s\S]*do: .*--kubeconfig/m);
    expect((await scene.left()).disk).toHaveLength(5);
    expect((await scene.left()).s3).toHaveLength(14);
  });

  it('says what it did before it was interrupted, and ends with 130', async () => {
    await using scene = await sceneOf({ kube: true, s3: true });
    for (const one of names(scene, seven)) await scene.onDisk(one);
    await using front = await startFaultFront(places.s3.server.url);
    front.setRule(() => 'hang');
    const command = scene.start('prune', `--s3-endpoint=${front.endpoint}`);
    await command.until(() => front.requests.length > 0);
    command.child.kill('SIGTERM');
    const { code, stderr } = await command.done;
    expect(code, stderr).toBe(130);
    expect(stderr.match(/^INFO.* deleted\./gm)).toHaveLength(2);
    expect(stderr.match(/Interrupted/g)).toHaveLength(1);
    expect((await scene.left()).disk).toEqual(names(scene, [3, 4, 5, 6, 7]));
  });

  it('deletes nothing while the records, which say what is held, cannot be read', async () => {
    await using scene = await sceneOf({});
    for (const one of names(scene, seven)) await scene.onDisk(one);
    const [port] = await freePorts(1);
    const away = join(dirname(scene.dir), 'kubeconfig');
    const config = await readFile(places.kube.kubeconfig, 'utf8');
    await writeFile(away, config.replace(/server: \S+/, `server: https://127.0.0.1:${port}`), {
      mode: 0o600,
    });
    const { code, stderr } = await scene.run('prune', `--kubeconfig=${away}`);
    expect(code, stderr).toBe(1);
    expect(stderr).toContain(`127.0.0.1:${port}`);
    expect((await scene.left()).disk).toHaveLength(7);
  });

  it.each([
    ['0', 'with a retention of 0 all snapshots stay'],
    ['9', '7 called on-demand-<node>-<time>, and 9 of each node stay'],
  ])('says so when there is nothing to do with a retention of %s', async (retention, text) => {
    await using scene = await sceneOf({});
    for (const one of names(scene, seven)) await scene.onDisk(one);
    const { code, stderr } = await scene.run('prune', `--snapshot-retention=${retention}`);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain(text);
    expect((await scene.left()).disk).toHaveLength(7);
  });
});
