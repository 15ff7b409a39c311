import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { SnapshotError } from '../errors.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { createRecordReactions } from './record-reactions.ts';

const away = new SnapshotError('unavailable', 'away', { retryable: true });
const recordOf = (of: Snapshot) => ({ file: toSnapshotFile(of, 'k3s'), applied: false, seenAt: 0 });

function start() {
  const timers = fakeTimers();
  const looks: string[] = [];
  const reactions = createRecordReactions({
    program: 'k3s',
    nodeName: 'n1',
    base: 'etcd-snapshot',
    memory: { changed: () => false },
    inventory: () => ({
      look: (what) => looks.push(what),
      lookAfter: (what, ms) => looks.push(`${what} ${ms}`),
    }),
    timers,
    enqueue: () => {},
    report: () => {},
    onKnown: () => {},
  });
  return { timers, looks, ...reactions };
}

describe('a record that changes', () => {
  it('of this node’s disk is a reason to look there, also when it moves to or from another one', () => {
    const { looks, onChange } = start();
    const [ours, theirs] = ['n1', 'n2'].map((nodeName) => recordOf(exampleSnapshot('a', { nodeName })));
    onChange('a', ours, undefined);
    onChange('a', undefined, ours);
    onChange('a', theirs, ours);
    expect(looks).toEqual(['local 100', 'local 100', 'local 100']);
  });

  it('of another node’s disk is none of ours', () => {
    const { looks, onChange } = start();
    const theirs = recordOf(exampleSnapshot('a', { nodeName: 'n2' }));
    onChange('a', theirs, undefined);
    onChange('a', undefined, theirs);
    expect(looks).toEqual([]);
  });

  it('of S3 is a reason to look there when it is new and one of the schedule’s', () => {
    const { looks, onChange } = start();
    for (const name of ['etcd-snapshot-n2-1', 'by-hand-n2-1'])
      onChange(name, recordOf(exampleSnapshot(name, { location: exampleS3Location(name) })), undefined);
    expect(looks).toEqual(['s3 5000']);
  });
});

describe('the records', () => {
  const all = (ms: number) => [`local ${ms}`, `s3 ${ms}`, `departed ${ms}`];

  it('are a reason to look when they become known, and none while they are not, or stay so', () => {
    const { looks, onState } = start();
    onState({ synced: false, error: away });
    expect(looks).toEqual([]);
    onState({ synced: true });
    onState({ synced: true, error: away });
    expect(looks).toEqual(all(0));
  });

  it('are none again and again while the API server comes and goes', async () => {
    const { looks, onState, timers } = start();
    onState({ synced: true });
    for (let flaps = 0; flaps < 3; flaps += 1) {
      await timers.advance(1_000);
      onState({ synced: true, error: away });
      onState({ synced: true });
    }
    expect(looks).toEqual([...all(0), ...all(9_000)]);
    await timers.advance(300_000);
    onState({ synced: true, error: away });
    onState({ synced: true });
    expect(looks.slice(6)).toEqual(all(0));
  });

  it('are one at once when they could be listed, though they cannot be watched', () => {
    const { looks, onState } = start();
    onState({ synced: true, error: away });
    expect(looks).toEqual(all(0));
  });
});
