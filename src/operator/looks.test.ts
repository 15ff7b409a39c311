import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { S3Ready } from '../reconcilers/ports.ts';
import { createLooks, type LooksParts } from './looks.ts';

const never = new AbortController().signal;
const HOUR = 3_600_000;

/** The looks of a leader on node n1 with one new file, one new object, and one record of node n2, which has left. */
function world({ synced = true, skipDeparted = false } = {}) {
  const diary: string[] = [];
  const ofOther = toSnapshotFile(exampleSnapshot('b', { nodeName: 'n2' }), 'k3s');
  const store = (name: string, overrides = {}) => ({
    async list() {
      diary.push(`list ${name}`);
      return [exampleSnapshot(name, overrides)];
    },
  });
  const view = {
    state: 'ready',
    shared: store('in-s3', { location: exampleS3Location('in-s3') }),
    place: { store: 's3', endpoint: 's3.example.com', bucket: 'etcd', prefix: 'a' },
    retention: 0,
    ruledSince: new Date(0),
  };
  let now = 0;
  const looks = createLooks({
    program: 'k3s',
    nodeName: 'n1',
    folder: store('on-disk'),
    place: { store: 'local', dir: '/snapshots' },
    records: {
      synced,
      fresh: synced,
      keptBy: () => [],
      all: () => [{ file: ofOther, applied: false, seenAt: 0 }],
    },
    writer: {
      publish: async ({ name }: { readonly name: string }) => diary.push(`publish ${name}`),
      release: async () => diary.push('release b') > 0,
    },
    facts: {
      clusterId: async () => 'ours',
      legacyMetadata: async () => new Map(),
      async nodeIsGone(name: string) {
        diary.push(`ask for ${name}`);
        return true;
      },
    },
    memory: { wentSince: () => false },
    scheduledBase: 'etcd-snapshot',
    youngMs: 0,
    apartMs: 0,
    guardMs: 0,
    skipDeparted,
    timers: { now: () => new Date(), monotonic: () => (now += HOUR) },
    onSnapshots: () => {},
    onWaiting: () => {},
    onRefused: () => {},
    onPruned: () => {},
    onSuspended: () => {},
  } as unknown as LooksParts);
  return { looks, diary, view: view as unknown as S3Ready };
}

describe('before the records are known', () => {
  it.each<[string, (scene: ReturnType<typeof world>) => Promise<unknown>]>([
    ['the folder', ({ looks }) => looks.local(never)],
    ['S3', ({ looks, view }) => looks.s3(view, never)],
    ['departed nodes', ({ looks }) => looks.departed(never)],
  ])('nobody looks at %s, and the look says so', async (_, look) => {
    const scene = world({ synced: false });
    await expect(look(scene)).rejects.toMatchObject({ code: 'unavailable', retryable: true });
    expect(scene.diary).toEqual([]);
  });
});

describe('once the records are known', () => {
  it('what has none gets one, from the folder and from S3', async () => {
    const { looks, view, diary } = world();
    expect([await looks.local(never), await looks.s3(view, never)]).toEqual([true, true]);
    expect(diary).toEqual(['list on-disk', 'publish on-disk', 'list in-s3', 'publish in-s3']);
  });

  it('those of nodes that have left are let go, but where members of etcd need not be nodes', async () => {
    const k3s = world();
    await k3s.looks.departed(never);
    await k3s.looks.departed(never);
    expect(k3s.diary).toEqual(['ask for n2', 'ask for n2', 'release b']);
    const custom = world({ skipDeparted: true });
    await custom.looks.departed(never);
    await custom.looks.departed(never);
    expect(custom.diary).toEqual([]);
  });
});
