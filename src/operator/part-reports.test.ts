import { beforeEach, describe, expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import type { S3View } from '../reconcilers/ports.ts';
import { createPartReports, type PartReports } from './part-reports.ts';

const away = new SnapshotError('unavailable', 'S3 is away', { retryable: true });
const refused = new SnapshotError('forbidden', 'Writing is refused');
const ready = { state: 'ready' } as S3View;
const missing: S3View = { state: 'unavailable', error: new SnapshotError('not-found', 'no such Secret') };

let states: Record<string, string>;
let told: string[];
let counted: string[];
let parts: PartReports;

beforeEach(() => {
  states = {};
  told = [];
  counted = [];
  parts = createPartReports({
    report(part, error) {
      states[part] = error?.message ?? 'works';
    },
    tellOfSecret: ({ message }) => told.push(message),
    countSuspended: (store, records) => counted.push(`${store} ${records}`),
  });
});

describe('S3', () => {
  it('works once it was asked, and not before', () => {
    parts.s3Changed(ready, missing);
    expect(states['s3']).toMatch(/has not been asked/);
    parts.looked('s3', undefined);
    expect(states['s3']).toBe('works');
  });

  it('does not work after a failed upload, until an upload or, where S3 was away, a look succeeds', () => {
    parts.looked('s3', undefined);
    parts.uploaded(away);
    expect(states['s3']).toBe('S3 is away');
    parts.looked('s3', undefined);
    expect(states['s3']).toBe('works');
    parts.uploaded(refused);
    parts.looked('s3', undefined);
    expect(states['s3']).toBe('Writing is refused');
    parts.uploaded(undefined);
    expect(states['s3']).toBe('works');
  });

  it('begins anew with other settings, and an upload that was ended says nothing', () => {
    parts.uploaded(refused);
    parts.s3Changed(ready, missing);
    parts.uploaded(new SnapshotError('aborted', 'ended'));
    parts.looked('s3', undefined);
    expect(states['s3']).toBe('works');
  });

  it('is told on the Secret once per change: what S3 answers, and what is wrong with the settings', () => {
    parts.s3Changed(missing, ready);
    parts.s3Changed(ready, missing);
    for (const _ of [1, 2]) parts.looked('s3', away);
    parts.uploaded(refused);
    parts.uploaded(undefined);
    parts.looked('s3', away);
    expect(told).toEqual(['no such Secret', 'S3 is away', 'Writing is refused', 'S3 is away']);
  });

  it('is not told on the Secret while only the API server keeps us waiting', () => {
    parts.s3Changed({ state: 'unavailable', error: new SnapshotError('unavailable', 'not read yet') }, ready);
    expect([states['s3'], told]).toEqual(['not read yet', []]);
  });
});

describe('etcd', () => {
  it('does not work when its stream has failed, and works when one came through', () => {
    parts.looked('etcd', undefined);
    parts.streamed(away);
    expect(states['etcd']).toBe('S3 is away');
    parts.streamed(undefined);
    expect(states['etcd']).toBe('works');
    parts.streamed(new SnapshotError('aborted', 'ended'));
    expect(states['etcd']).toBe('works');
  });
});

describe('copies without a record, and retention', () => {
  const odd = { copies: 2, name: 'odd', error: refused };

  it('are parts of their own, of both stores, and what S3 said is over with other settings', () => {
    parts.refused('local', odd);
    parts.refused('s3', { ...odd, name: 'other', copies: 1 });
    parts.pruned('s3', away);
    expect(states).toMatchObject({
      retention: 'S3 is away',
      refused: 'Snapshot odd and 1 more cannot be recorded',
    });
    parts.refused('local', undefined);
    expect(states['refused']).toBe('Snapshot other cannot be recorded');
    parts.s3Changed(ready, ready);
    expect(states).toMatchObject({ retention: 'works', refused: 'works' });
  });
});

describe('the guard against mass deletion', () => {
  const half = { missing: 11, of: 20 };

  it('says what it holds back, with a count, for as long as it does, each store for itself', () => {
    parts.suspended('local', half);
    parts.suspended('s3', { missing: 30, of: 30 });
    parts.suspended('local', undefined);
    expect(states['guard']).toBe('30 of 30 snapshots are suddenly missing on S3');
    parts.suspended('s3', undefined);
    expect(states['guard']).toBe('works');
    expect(counted).toEqual(['local 11', 's3 30', 'local 0', 's3 0']);
  });

  it('says nothing of S3 any more once others look at it, or other settings are in force', () => {
    parts.suspended('s3', half);
    parts.leadsNoMore();
    expect(states['guard']).toBe('works');
    parts.suspended('s3', half);
    parts.s3Changed(ready, ready);
    expect(states['guard']).toBe('works');
  });
});

describe('the schedule', () => {
  it('that only lacks S3 works again as soon as S3 does', () => {
    parts.ran(away, true);
    expect(states['schedule']).toBe('S3 is away');
    parts.looked('s3', undefined);
    expect(states['schedule']).toBe('works');
  });

  it('that failed for another reason waits for its next run', () => {
    parts.ran(refused, false);
    parts.looked('s3', undefined);
    expect(states['schedule']).toBe('Writing is refused');
    parts.ran(undefined, false);
    expect(states['schedule']).toBe('works');
  });
});
