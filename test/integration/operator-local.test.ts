import { mkdir, readdir, rename, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resourceName } from '../../src/crds/resource-name.ts';
import { copyIn, type OperatorScene, startScene, writeSidecar } from '../support/operator-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { sleep } from '../support/processes.ts';
import { until } from '../support/s3-looks.ts';
import { snapshotBytes } from '../support/store-contract.ts';

const SIZE = snapshotBytes(2).length;
const LEGACY = '/api/v1/namespaces/kube-system/configmaps/k3s-etcd-snapshots';

let scene: OperatorScene;
/** Looks at its folder every ten minutes only: whatever comes sooner, the watches have brought. */
let operator: RunningOperator;
let serial = 1_730_308_816;

beforeAll(async () => {
  scene = await startScene();
  operator = await scene.operator({ node: 'node-1' });
  await operator.ready();
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

function newName(base = 'by-hand'): string {
  serial += 1;
  return `${base}-node-1-${serial}`;
}

/** Until what was in the folder before has been looked at: a new file's record is made by the same look. */
async function looked(): Promise<void> {
  const name = newName('canary');
  await copyIn(operator, name);
  await scene.recordOf(name);
  await rm(join(operator.dir, name));
  await scene.gone(name);
}

/** A record of our folder as somebody's pipeline applies it. */
function manifest(name: string) {
  const location = `file://${join(operator.dir, name)}`;
  return {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: `from-git-${name}` },
    spec: { snapshotName: name, nodeName: 'node-1', location },
  };
}

describe('the snapshot folder shows in the cluster by itself', () => {
  it('a file that somebody copies in gets the record that k3s would make, and an Event', async () => {
    const name = newName();
    const path = await copyIn(operator, name);
    const record = await scene.recordOf(name);
    const location = `file://${path}`;
    const createdAt = new Date(serial * 1000);
    expect(record).toMatchObject({
      metadata: {
        name: resourceName({
          snapshotName: name,
          nodeName: 'node-1',
          location,
          createdAt,
          compressed: false,
        }),
        labels: { 'etcd.k3s.cattle.io/snapshot-storage-node': 'node-1' },
      },
      spec: { snapshotName: name, nodeName: 'node-1', location },
      status: {
        size: String(SIZE),
        readyToUse: true,
        creationTime: createdAt.toISOString().replace('.000', ''),
      },
    });
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotCreated')).toBe(
      `Snapshot ${name} saved on node-1`,
    );
  });

  it('a file whose name ends in a date, which is no number of seconds, has the time at which it was written', async () => {
    const name = 'snapshot-261124120000';
    const path = await copyIn(operator, name);
    const { status } = await scene.recordOf(name);
    const { mtimeMs } = await stat(path);
    expect(Date.parse(status?.creationTime ?? '')).toBe(Math.floor(mtimeMs / 1_000) * 1_000);
    expect((await operator.get('/readyz')).status).toBe(200);
    await rm(path);
    await scene.gone(name);
  });

  it('a file that somebody removes takes its record along, and an Event says so', async () => {
    const name = newName();
    const path = await copyIn(operator, name);
    const record = await scene.recordOf(name);
    await rm(path);
    await scene.gone(name);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotDeleted')).toBe(`Snapshot ${name} deleted`);
  });

  it('never an unfinished file, a hidden one, a link, a folder or a file of another kind', async () => {
    const names = ['half-node-1-1.part', '.hidden-node-1-1', 'notes.txt', 'link-node-1-1', 'folder-node-1-1'];
    await writeFile(join(operator.dir, 'half-node-1-1.part'), snapshotBytes(2));
    await writeFile(join(operator.dir, '.hidden-node-1-1'), snapshotBytes(2));
    await writeFile(join(operator.dir, 'notes.txt'), 'keep the last one\n');
    await writeFile(join(operator.dataDir, 'target'), snapshotBytes(2));
    await symlink(join(operator.dataDir, 'target'), join(operator.dir, 'link-node-1-1'));
    await mkdir(join(operator.dir, 'folder-node-1-1'));
    await copyIn({ ...operator, dir: join(operator.dir, 'folder-node-1-1') }, 'deep-node-1-1');
    await looked();
    const known = (await scene.cluster.records()).map(({ spec }) => spec.snapshotName);
    expect(known.filter((name) => [...names, 'deep-node-1-1'].includes(name))).toEqual([]);
    expect(await readdir(operator.dir)).toEqual(expect.arrayContaining(names));
  });

  it('a size that changes is taken over', async () => {
    const name = newName();
    const path = await copyIn(operator, name);
    await scene.recordOf(name, ({ status }) => status?.size === String(SIZE));
    await truncate(path, 4096);
    await scene.recordOf(name, ({ status }) => status?.size === '4096');
  });

  it('metadata that are written beside a file are taken over, also when they come after it and change', async () => {
    const name = newName();
    await copyIn(operator, name);
    await scene.recordOf(name, ({ spec }) => spec.metadata === undefined);
    await operator.quiet();
    await writeSidecar(operator, name, { reason: 'upgrade' });
    await scene.recordOf(name, ({ spec }) => spec.metadata?.['reason'] === 'upgrade');
    await operator.quiet();
    await writeSidecar(operator, name, { reason: 'audit' });
    await scene.recordOf(name, ({ spec }) => spec.metadata?.['reason'] === 'audit');
  });

  it('the node is annotated with the time of it', async () => {
    await until(async () => {
      const { metadata } = await scene.cluster.get<{ metadata: { annotations?: Record<string, string> } }>(
        '/api/v1/nodes/node-1',
      );
      const time = metadata.annotations?.['etcd.k3s.cattle.io/local-snapshots-timestamp'];
      return time !== undefined && !Number.isNaN(Date.parse(time));
    });
  });
});

describe('what was there before', () => {
  it('metadata that k3s kept in its old ConfigMap are adopted, and the ConfigMap is never written', async () => {
    const name = newName();
    const metadata = Buffer.from(JSON.stringify({ owner: 'team-a' })).toString('base64');
    await scene.cluster.put({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'k3s-etcd-snapshots', namespace: 'kube-system' },
      data: { [`local-${name}`]: JSON.stringify({ name, metadata, nodeName: 'node-1' }) },
    });
    const before = await scene.cluster.get(LEGACY);
    await copyIn(operator, name);
    await scene.recordOf(name, ({ spec }) => spec.metadata?.['owner'] === 'team-a');
    await looked();
    expect((await scene.recordOf(name)).spec.metadata).toEqual({ owner: 'team-a' });
    expect(await scene.cluster.get(LEGACY)).toEqual(before);
  });

  it('a record of a failure stays for a day, and goes then', async () => {
    const failure = (name: string, hours: number) => ({
      ...manifest(name),
      metadata: { name: `failed-${name}`, labels: { 'etcd.k3s.cattle.io/snapshot-storage-node': 'node-1' } },
      spec: { snapshotName: name, nodeName: 'node-1', location: '' },
      status: {
        size: '0',
        readyToUse: false,
        error: { time: new Date(Date.now() - hours * 3_600_000).toISOString(), message: 'no etcd' },
      },
    });
    const [yesterday, today] = [newName('failed'), newName('failed')];
    await scene.cluster.put(failure(today, 23), 'create', '--field-manager=k3s');
    await scene.cluster.put(failure(yesterday, 25), 'create', '--field-manager=k3s');
    await scene.gone(yesterday);
    expect((await scene.recordOf(today)).status?.error?.message).toBe('no etcd');
  });
});

describe('a record that GitOps applied', () => {
  it('without data is marked and kept; it is ready when the data come, and stays when they go', async () => {
    const name = newName('git');
    await scene.cluster.put(manifest(name), 'apply');
    const marked = await scene.recordOf(name, ({ status }) => status?.readyToUse === false);
    expect(marked.status?.error?.message).toBe('the snapshot is not there');
    await looked();
    expect((await scene.recordOf(name)).metadata.uid).toBe(marked.metadata.uid);

    const path = await copyIn(operator, name);
    const ready = await scene.recordOf(name, ({ status }) => status?.readyToUse === true);
    expect(ready.status).toMatchObject({ size: String(SIZE) });
    expect(ready.status?.error).toBeUndefined();
    expect([ready.metadata.name, ready.spec]).toEqual([`from-git-${name}`, manifest(name).spec]);

    await rm(path);
    const again = await scene.recordOf(name, ({ status }) => status?.readyToUse === false);
    expect(again.metadata.uid).toBe(marked.metadata.uid);
  });
});

describe('twelve snapshots that vanish at once', () => {
  it('keep their records, with a warning, until two more looks agree', async () => {
    const names = Array.from({ length: 12 }, () => newName('many'));
    const away = join(operator.dataDir, 'away');
    for (const name of names) await copyIn(operator, name);
    for (const name of names) await scene.recordOf(name);
    const files = await readdir(operator.dir);
    // The whole folder at once, as when a disk is not mounted.
    await rename(operator.dir, away);
    await mkdir(operator.dir, { mode: 0o700 });
    const warned = async () => {
      for (const { metadata } of await scene.cluster.records()) {
        const events = await scene.cluster.events(metadata.name);
        const event = events.find(({ reason }) => reason === 'ETCDSnapshotsVanished');
        if (event !== undefined) return event.message;
      }
      return undefined;
    };
    await until(async () => (await warned()) !== undefined);
    expect(await warned()).toMatch(
      /^\d+ of \d+ snapshots are suddenly missing in the snapshot folder of node-1/,
    );
    expect(await scene.cluster.records('many-')).toHaveLength(12);

    // They come back: nothing was lost, and the warning is forgotten.
    await rm(operator.dir, { recursive: true });
    await rename(away, operator.dir);
    await looked();
    expect(await scene.cluster.records('many-')).toHaveLength(12);
    expect(files).toEqual(expect.arrayContaining(names));

    // They are really gone: after the third look that says so, and not before.
    await rename(operator.dir, away);
    await mkdir(operator.dir, { mode: 0o700 });
    await until(async () => {
      await utimes(operator.dir, new Date(), new Date());
      // Looked at when it is left alone.
      await sleep(500);
      return (await scene.cluster.records('many-')).length === 0;
    });
  });
});

describe('a snapshot folder that is not there', () => {
  it('is told, stops nothing, and is taken up when somebody makes it', async () => {
    const dir = join(operator.dataDir, 'later/snapshots');
    const other = await scene.operator({ node: 'node-2', args: [`--dir=${dir}`] });
    await until(async () =>
      (await other.part('local', false)).includes(`The snapshot folder ${dir} does not exist`),
    );
    expect((await other.get('/readyz')).status).toBe(503);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await copyIn({ ...other, dir }, 'by-hand-node-2-1730308816');
    await scene.recordOf('by-hand-node-2-1730308816');
    await other.ready();
    expect(dirname(dir)).toContain('later');
  });
});
