import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FakeTimers, fakeTimers } from '../../test/support/fake-clock.ts';
import { away, FakeEvents, refuse, type StoredEvent } from '../../test/support/fake-events.ts';
import type { KubeEvent } from './event-object.ts';
import { createEventRecorder, type EventRecorder } from './event-recorder.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const never = new AbortController().signal;

let timers: FakeTimers;
let api: FakeEvents;
let warnings: Error[];
let recorder: EventRecorder;

beforeEach(() => {
  timers = fakeTimers('2024-10-30T17:20:16Z');
  api = new FakeEvents();
  warnings = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  recorder = createEventRecorder({ client: api, program: 'k3s', instance: 'n1', timers, onWarning });
});

afterEach(async () => {
  await recorder.flush(never);
  expect(timers.waiting).toBe(0);
});

const record = { apiVersion: 'k3s.cattle.io/v1', kind: 'ETCDSnapshotFile', name: 'a-record', uid: 'u-1' };
const deleted: KubeEvent = {
  object: record,
  type: 'Normal',
  reason: 'ETCDSnapshotDeleted',
  message: 'Snapshot deleted',
};
const secret = { apiVersion: 'v1', kind: 'Secret', name: 's3', namespace: 'kube-system' };

function emit(times: number, event: Partial<KubeEvent> = {}): void {
  for (let i = 0; i < times; i += 1) recorder.emit({ ...deleted, ...event });
}

const stored = () => [...api.events.values()];
const counts = () => stored().map(({ count }) => count);

describe('an event', () => {
  it('is written as k3s writes it', async () => {
    emit(1);
    await timers.advance(0);
    expect(api.requests).toMatchObject([
      { method: 'POST', path: '/api/v1/namespaces/default/events', query: { fieldManager: 'etcd-snapshot' } },
    ]);
    expect(stored()).toEqual([
      {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: expect.stringMatching(/^a-record\.[0-9a-f]+$/), namespace: 'default' },
        involvedObject: record,
        type: 'Normal',
        reason: 'ETCDSnapshotDeleted',
        message: 'Snapshot deleted',
        source: { component: 'k3s-supervisor' },
        reportingComponent: 'k3s-supervisor',
        reportingInstance: 'n1',
        firstTimestamp: '2024-10-30T17:20:16Z',
        lastTimestamp: '2024-10-30T17:20:16Z',
        count: 1,
      },
    ]);
  });

  it('goes to the namespace of its object', async () => {
    emit(1, { object: secret });
    await timers.advance(0);
    expect(api.requests[0]?.path).toBe('/api/v1/namespaces/kube-system/events');
    expect(stored()).toMatchObject([{ metadata: { namespace: 'kube-system' }, involvedObject: secret }]);
  });

  it('has a name of its own, even beside others of the same millisecond', async () => {
    emit(1);
    emit(1, { reason: 'Other' });
    emit(1, { message: 'Another' });
    emit(1, { type: 'Warning' });
    emit(1, { object: { ...record, uid: 'u-2' } });
    await timers.advance(0);
    expect(counts()).toEqual([1, 1, 1, 1, 1]);
  });

  it('takes another name when somebody else has it', async () => {
    let taken = 2;
    api.rule = (request) => (taken-- > 0 ? refuse(request, 409, 'AlreadyExists') : undefined);
    emit(1);
    await timers.advance(0);
    expect(counts()).toEqual([1]);
    expect(new Set(api.requests.map(({ body }) => (body as StoredEvent).metadata.name)).size).toBe(3);
  });
});

describe('an event that happens again', () => {
  it('is one Event that counts', async () => {
    emit(100);
    await timers.advance(0);
    expect(counts()).toEqual([100]);
    expect(api.requests).toHaveLength(1);
  });

  it('is counted in the API server every now and then, ever less often', async () => {
    for (let second = 0; second < 3600; second += 1) {
      emit(1);
      await timers.advance(SECOND);
    }
    expect(api.requests.length).toBeLessThan(20);
    await recorder.flush(never);
    expect(stored()).toMatchObject([
      { count: 3600, firstTimestamp: '2024-10-30T17:20:16Z', lastTimestamp: '2024-10-30T18:20:15Z' },
    ]);
  });

  it('tells its count within ten seconds', async () => {
    emit(1);
    await timers.advance(0);
    emit(4);
    await timers.advance(10 * SECOND);
    expect(counts()).toEqual([5]);
  });

  it('is a new Event after 25 minutes of silence, so that what each look finds is one', async () => {
    emit(1);
    await timers.advance(11 * MINUTE);
    emit(1);
    await timers.advance(25 * MINUTE + 1);
    emit(1);
    await recorder.flush(never);
    expect(counts()).toEqual([2, 1]);
  });

  it('is made anew when the first one is gone', async () => {
    emit(2);
    await timers.advance(0);
    api.events.clear();
    emit(1);
    await timers.advance(10 * SECOND);
    expect(counts()).toEqual([3]);
  });
});

describe('too many events', () => {
  it('of one object are dropped, all others are not', async () => {
    for (let i = 0; i < 40; i += 1) emit(1, { message: `${i}` });
    emit(1, { object: secret });
    await timers.advance(0);
    expect(stored().map(({ metadata }) => metadata.namespace)).toEqual([
      ...Array.from({ length: 25 }, () => 'default'),
      'kube-system',
    ]);
    expect(warnings).toMatchObject([{ code: 'busy', message: expect.stringContaining('a-record') }]);
    await timers.advance(5 * MINUTE);
    emit(2, { message: 'later' });
    emit(1, { message: 'later still' });
    await timers.advance(10 * SECOND);
    expect(stored().at(-1)).toMatchObject({ message: 'later', count: 2 });
  });

  it('to wait are dropped', async () => {
    api.rule = () => away;
    for (let i = 0; i < 1100; i += 1) emit(1, { object: { ...record, uid: `${i}` } });
    expect(warnings).toMatchObject([{ code: 'busy', why: expect.stringContaining('1000 others') }]);
    await timers.advance(0);
    api.rule = () => undefined;
    await recorder.flush(never);
    expect(stored()).toHaveLength(1000);
  });

  it('warn once in ten minutes', async () => {
    const tooMany = () => {
      for (let i = 0; i < 40; i += 1) emit(1, { message: `${i} ${timers.monotonic()}` });
    };
    tooMany();
    await timers.advance(9 * MINUTE);
    tooMany();
    expect(warnings).toHaveLength(1);
    await timers.advance(MINUTE);
    tooMany();
    expect(warnings).toHaveLength(2);
  });
});

describe('an API server', () => {
  it('that is away gets the events when it is back, in order and with their counts', async () => {
    api.rule = () => away;
    emit(1);
    emit(1, { message: 'second' });
    await timers.advance(20 * SECOND);
    expect(api.requests.length).toBeLessThanOrEqual(6);
    emit(2);
    api.rule = () => undefined;
    await timers.advance(20 * SECOND);
    expect(stored()).toMatchObject([
      { count: 3, lastTimestamp: '2024-10-30T17:20:36Z' },
      { message: 'second', count: 1 },
    ]);
    api.rule = () => away;
    emit(1);
    await timers.advance(50 * SECOND);
    api.rule = () => undefined;
    await timers.advance(30 * SECOND);
    expect(counts()).toEqual([4, 1]);
    expect(warnings).toEqual([]);
  });

  it('that stays away costs the event, one warning, and nothing of the next one', async () => {
    api.rule = () => away;
    emit(1);
    emit(1, { message: 'second' });
    await timers.advance(65 * SECOND);
    expect(warnings).toEqual([away]);
    api.rule = () => undefined;
    await timers.advance(30 * SECOND);
    emit(1);
    await timers.advance(0);
    expect(stored()).toMatchObject([
      { message: 'second', count: 1 },
      { message: 'Snapshot deleted', count: 1 },
    ]);
  });

  it('that did it without an answer is not asked for a second one', async () => {
    api.rule = () => 'lost';
    emit(1);
    await timers.advance(0);
    api.rule = () => undefined;
    emit(1);
    await timers.advance(SECOND);
    expect(counts()).toEqual([2]);
    api.rule = () => 'lost';
    emit(1);
    await timers.advance(10 * SECOND);
    api.rule = () => undefined;
    await timers.advance(SECOND);
    expect(counts()).toEqual([3]);
    expect(warnings).toEqual([]);
  });

  it('that refuses is asked once, and told once', async () => {
    api.rule = (request) => refuse(request, 403, 'Forbidden');
    emit(1);
    emit(1, { message: 'second' });
    await timers.advance(MINUTE);
    expect(api.requests).toHaveLength(2);
    expect(warnings).toMatchObject([{ code: 'forbidden', hint: expect.stringContaining('"create" events') }]);
  });

  it('that hangs holds up neither emit nor a flush whose time is over', async () => {
    api.rule = () => 'hang';
    for (let i = 0; i < 20; i += 1) emit(1, { object: { ...record, uid: `${i}` } });
    await timers.advance(0);
    expect(api.requests).toHaveLength(1);
    const stop = new AbortController();
    const flushing = recorder.flush(stop.signal);
    stop.abort();
    await flushing;
    await recorder.flush(AbortSignal.abort());
    expect(api.requests[0]?.signal.aborted).toBe(true);
    api.rule = () => undefined;
    for (const uid of ['0', '19']) emit(1, { object: { ...record, uid } });
    await recorder.flush(never);
    expect(counts()).toEqual([1, 1]);
    expect(warnings).toEqual([]);
  });
});

describe('flush', () => {
  it('does not wait for a next try, and tells what is lost', async () => {
    api.rule = () => away;
    emit(1);
    await timers.advance(0);
    await recorder.flush(never);
    expect(api.requests).toHaveLength(2);
    expect(warnings).toEqual([away]);
  });

  it('writes counts that would wait, those of a call under way too', async () => {
    emit(1);
    await timers.advance(0);
    emit(1);
    emit(1, { message: 'second' });
    await Promise.resolve();
    emit(1, { message: 'second' });
    await recorder.flush(never);
    expect(counts()).toEqual([2, 2]);
  });

  it('of nothing is done at once', async () => {
    await recorder.flush(never);
    expect(api.requests).toEqual([]);
  });
});
