import { describe, expect, it } from 'vitest';
import type { ConfigMapContent, SecretContent } from '../config/s3-secret.ts';
import type { S3Settings, S3Source } from '../config/types.ts';
import { SnapshotError } from '../errors.ts';
import type { S3View } from '../reconcilers/ports.ts';
import { createLiveS3 } from './live-s3.ts';

const source: S3Source = { kind: 'secret', name: 's3-config' };

function secret(values: Record<string, string>): SecretContent {
  const all = {
    'etcd-s3-access-key': 'AKIA',
    'etcd-s3-secret-key': 'hush',
    'etcd-s3-bucket': 'b',
    ...values,
  };
  const data = Object.entries(all).map(([key, value]) => [key, Buffer.from(value).toString('base64')]);
  return { name: 's3-config', data: Object.fromEntries(data) };
}

function bundles(text: string): ConfigMapContent {
  return { name: 'bundles', data: { 'ca.crt': text }, binaryData: {} };
}

let now = new Date(0);

function start(from: S3Source = source, retention?: number) {
  const opened: S3Settings[] = [];
  const views: S3View[] = [];
  const notes: string[] = [];
  const retired: string[] = [];
  const live = createLiveS3({
    source: from,
    retention,
    defaultRetention: 5,
    open(settings) {
      opened.push(settings);
      const retire = () => retired.push(settings.keys?.secretKey.reveal() ?? '');
      return { place: { bucket: settings.bucket }, retire } as unknown as ReturnType<
        Parameters<typeof createLiveS3>[0]['open']
      >;
    },
    onChange: (view) => views.push(view),
    now: () => now,
    onNotes: (told) => notes.push(...told.map(({ message }) => message)),
  });
  return { live, opened, retired, views, notes };
}

const stateOf = (view: S3View | undefined) => (view?.state === 'unavailable' ? view.error.code : view?.state);

describe('the settings of S3 in a Secret', () => {
  it('are unavailable before the Secret was read, when there is none and when it is wrong', () => {
    const { live, views } = start();
    expect(stateOf(live.view())).toBe('unavailable');
    live.secret(undefined);
    expect(live.view()).toMatchObject({ error: { code: 'not-found', why: 'there is no such Secret' } });
    live.secret(secret({ 'etcd-s3-timeout': 'soon', 'etcd-s3-insecure': 'perhaps' }));
    expect(live.view()).toMatchObject({ state: 'unavailable', error: { code: 'usage' } });
    const { error } = live.view() as { error: SnapshotError };
    expect(error.why).toContain('etcd-s3-timeout');
    expect(error.why).toContain('etcd-s3-insecure');
    live.secret(secret({}));
    expect(views.map(stateOf)).toEqual(['not-found', 'usage', 'ready']);
  });

  it('change with the Secret, and a new key makes a new store', () => {
    const { live, opened } = start();
    live.secret(secret({}));
    live.secret(secret({}));
    expect(opened).toHaveLength(1);
    live.secret(secret({ 'etcd-s3-secret-key': 'other' }));
    expect(opened.map(({ keys }) => keys?.secretKey.reveal())).toEqual(['hush', 'other']);
    live.secret(undefined);
    expect(stateOf(live.view())).toBe('not-found');
  });

  it('are closed as soon as others are in force, or none', () => {
    const { live, retired } = start();
    for (const key of ['first', 'first', 'second', 'third']) {
      live.secret(secret({ 'etcd-s3-secret-key': key }));
    }
    expect(retired).toEqual(['first', 'second']);
    live.secret(undefined);
    expect(retired).toEqual(['first', 'second', 'third']);
  });

  it('are outdated from the moment that others are in force, or none, and not by a Secret that says the same', () => {
    const { live } = start();
    const outdated = () => {
      const view = live.view();
      return view.state === 'ready' ? view.outdated : undefined;
    };
    live.secret(secret({}));
    const first = outdated();
    live.secret(secret({}));
    expect(outdated()).toBe(first);
    expect(first?.aborted).toBe(false);
    live.secret(secret({ 'etcd-s3-secret-key': 'other' }));
    const second = outdated();
    expect([first?.aborted, second?.aborted]).toEqual([true, false]);
    live.secret(undefined);
    expect(second?.aborted).toBe(true);
    live.secret(secret({ 'etcd-s3-secret-key': 'other' }));
    expect(outdated()?.aborted).toBe(false);
  });

  it('say since when place and retention are the same: not other keys, nor a Secret that is away for a while, begin anew', () => {
    const { live } = start();
    const since = (hour: number, values: Record<string, string>) => {
      now = new Date(hour * 3_600_000);
      live.secret(secret(values));
      const view = live.view();
      return view.state === 'ready' ? view.ruledSince.getTime() / 3_600_000 : undefined;
    };
    expect(since(1, {})).toBe(1);
    expect(since(2, { 'etcd-s3-secret-key': 'other' })).toBe(1);
    live.secret(undefined);
    expect(since(3, {})).toBe(1);
    expect(since(4, { 'etcd-s3-retention': '4' })).toBe(4);
    expect(since(5, { 'etcd-s3-retention': '4', 'etcd-s3-bucket': 'c' })).toBe(5);
    expect(since(6, {})).toBe(6);
  });

  it('name the ConfigMap to watch, and take its bundles in', () => {
    const { live, views } = start();
    expect(live.caConfigMapName()).toBeUndefined();
    live.secret(secret({ 'etcd-s3-endpoint-ca-name': 'bundles' }));
    expect(live.caConfigMapName()).toBe('bundles');
    live.caConfigMap('bundles', bundles('no certificate'));
    expect(stateOf(views.at(-1))).toBe('usage');
  });

  it('open nothing before the first answer about the ConfigMap that they name, be it that there is none', () => {
    const { live, opened, notes } = start();
    live.secret(secret({ 'etcd-s3-endpoint-ca-name': 'bundles' }));
    expect(live.view()).toMatchObject({
      error: { message: 'ConfigMap kube-system/bundles has not been read yet' },
    });
    // What was said of another one says nothing of this one.
    live.caConfigMap('others', undefined);
    expect([opened, notes]).toEqual([[], []]);
    live.caConfigMap('bundles', undefined);
    expect(stateOf(live.view())).toBe('ready');
    expect(notes.join()).toContain('bundles, which etcd-s3-endpoint-ca-name names, does not exist');
  });

  it('say why the ConfigMap cannot be read, and which one may be, but keep what was read of it', () => {
    const { live } = start();
    const refused = new SnapshotError('forbidden', 'Cannot list configmaps', { why: 'refused by RBAC' });
    live.secret(secret({ 'etcd-s3-endpoint-ca-name': 'bundles' }));
    live.caUnreadable('bundles', refused);
    expect(live.view()).toMatchObject({
      error: {
        code: 'forbidden',
        why: 'refused by RBAC',
        hint: expect.stringContaining('etcd-snapshot-s3-ca'),
      },
    });
    live.caConfigMap('bundles', undefined);
    live.caUnreadable('bundles', refused);
    expect(stateOf(live.view())).toBe('ready');
  });

  it('stay in force while the Secret cannot be read, once they were', () => {
    const { live } = start();
    const away = new SnapshotError('unavailable', 'away');
    live.unreadable(away);
    expect(live.view()).toEqual({ state: 'unavailable', error: away });
    live.secret(secret({}));
    live.unreadable(away);
    expect(stateOf(live.view())).toBe('ready');
  });

  it('are used from a Secret of another type too, with a note', () => {
    const { live, notes } = start();
    live.secret({ ...secret({}), type: 'Opaque' });
    expect(stateOf(live.view())).toBe('ready');
    expect(notes).toEqual([
      expect.stringMatching(/is of type Opaque, not etcd\.k3s\.cattle\.io\/s3-config-secret/),
    ]);
    notes.length = 0;
    live.secret({ ...secret({}), type: 'etcd.k3s.cattle.io/s3-config-secret' });
    expect(notes).toEqual([]);
  });

  it('give the retention, unless a flag does', () => {
    const byDefault = start();
    byDefault.live.secret(secret({}));
    expect(byDefault.live.view()).toMatchObject({ retention: 5 });
    byDefault.live.secret(secret({ 'etcd-s3-retention': '7' }));
    expect(byDefault.live.view()).toMatchObject({ retention: 7 });
    const byFlag = start(source, 3);
    byFlag.live.secret(secret({ 'etcd-s3-retention': '7' }));
    expect(byFlag.live.view()).toMatchObject({ retention: 3 });
  });
});

it('without S3 there is nothing to see', () => {
  expect(start({ kind: 'off' }).live.view()).toEqual({ state: 'off' });
});
