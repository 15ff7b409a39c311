import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { path, type ReflectorScene, startReflectorScene, until } from '../../test/support/reflector-scene.ts';
import type { Exchange } from '../../test/support/scripted-api.ts';
import { bookmark, event, list, page, thing } from '../../test/support/things.ts';

let scene: ReflectorScene;

beforeEach(async () => {
  scene = await startReflectorScene();
});

afterEach(() => scene[Symbol.asyncDispose]());

describe('a reflector', () => {
  it('lists page by page, then watches from the version of the list', async () => {
    scene.start({ pageSize: 2, labelSelector: 'a=b', fieldSelector: 'metadata.name=c' });
    const selectors = { labelSelector: 'a=b', fieldSelector: 'metadata.name=c' };
    const first = await scene.next();
    expect(first).toMatchObject({ path, query: { ...selectors, limit: '2' } });
    first.reply(200, page('7', thing('a', '3'), thing('b', '5', 'blue')));
    const second = await scene.next();
    expect(second.query).toEqual({ ...selectors, limit: '2', continue: 'go-on' });
    expect([scene.reflector.cache.size, scene.changes, scene.states]).toEqual([0, [], []]);
    second.reply(200, list('7', thing('c', '4')));
    await scene.reflector.synced;
    expect(scene.changes).toEqual(['a:red<undefined', 'b:blue<undefined', 'c:red<undefined']);
    expect([...scene.reflector.cache.all()]).toEqual(['red', 'blue', 'red']);
    expect(scene.reflector.cache.by('color', 'red')).toHaveLength(2);
    expect((await scene.next()).query).toEqual({
      ...selectors,
      watch: '1',
      resourceVersion: '7',
      allowWatchBookmarks: 'true',
      timeoutSeconds: '305',
    });
    expect(scene.states).toEqual(['synced']);
  });

  it('takes up what the watch tells', async () => {
    scene.start();
    const watch = await scene.beginWatch('7', thing('a', '3'), thing('b', '5'));
    watch.send(event('ADDED', thing('c', '8')), event('MODIFIED', thing('a', '9', 'blue')));
    watch.send(event('DELETED', thing('b', '10')), event('DELETED', thing('never-seen', '11')));
    await until(() => expect(scene.changes).toHaveLength(5));
    expect(scene.changes.slice(2)).toEqual(['c:red<undefined', 'a:blue<red', 'b:undefined<red']);
    expect([
      scene.reflector.cache.get('a'),
      scene.reflector.cache.get('b'),
      scene.reflector.cache.size,
    ]).toEqual(['blue', undefined, 2]);
  });

  it('goes on at once and without a listing when the server ends the watch, from the last event or bookmark', async () => {
    scene.start();
    const first = await scene.beginWatch('7', thing('a', '3'));
    first.send(event('MODIFIED', thing('a', '8')));
    first.end();
    const second = await scene.resumeWatch('8');
    expect(second.query['resourceVersion']).toBe('8');
    second.send(bookmark('15'));
    second.end();
    const third = await scene.resumeWatch('15');
    expect(third.query['resourceVersion']).toBe('15');
    third.open();
    await scene.timers.advance(5_000);
    await until(() => expect(scene.timers.waiting).toBe(0));
    expect(scene.states).toEqual(['synced']);
    expect(scene.changes).toHaveLength(2);
  });

  it.each<[string, (watch: Exchange) => void]>([
    ['an event', (watch) => watch.send(event('ERROR', { kind: 'Status', code: 410, reason: 'Expired' }))],
    ['its answer', (watch) => watch.reply(410, { kind: 'Status', code: 410, reason: 'Expired' })],
  ])(
    'lists anew when %s says that the version has expired, and tells exactly what changed',
    async (_, say) => {
      scene.start();
      const before = [thing('goes', '1'), thing('stays', '2'), thing('changes', '3'), thing('again', '4')];
      const first = await scene.beginWatch('7', ...before);
      first.send(bookmark('8'));
      first.end();
      say(await scene.resumeWatch('8'));
      const listing = await scene.nextAfter(188);
      expect(listing.query).toEqual({ limit: '500' });
      scene.changes.length = 0;
      const after = [
        thing('stays', '2'),
        thing('changes', '20', 'blue'),
        thing('again', '21'),
        thing('new', '22'),
      ];
      listing.reply(200, list('30', ...after));
      expect((await scene.next()).query['resourceVersion']).toBe('30');
      expect(scene.changes).toEqual([
        'goes:undefined<red',
        'changes:blue<red',
        'again:red<red',
        'new:red<undefined',
      ]);
      expect(scene.states).toEqual(['synced']);
    },
  );

  it('lists anew once an hour, and takes in only what is not as it was', async () => {
    const taken: string[] = [];
    scene.start({
      transform({ metadata, color }) {
        taken.push(metadata.name);
        return color;
      },
    });
    const first = await scene.beginWatch('7', thing('lost', '1'), thing('stays', '2'), thing('changes', '3'));
    await scene.timers.advance(65 * 60_000 - 1);
    first.send(bookmark('10'));
    first.end();
    const second = await scene.resumeWatch('10');
    await scene.timers.advance(1);
    second.send(bookmark('11'));
    second.end();
    const listing = await scene.next();
    expect(listing.query).toEqual({ limit: '500' });
    scene.changes.length = 0;
    taken.length = 0;
    // A restored etcd that is past our version: nothing else would ever tell what it has lost.
    listing.reply(200, list('30', thing('stays', '2'), thing('changes', '8', 'blue'), thing('new', '9')));
    const third = await scene.next();
    expect(third.query['resourceVersion']).toBe('30');
    expect(scene.changes).toEqual(['lost:undefined<red', 'changes:blue<red', 'new:red<undefined']);
    expect(taken).toEqual(['changes', 'new']);
    third.send(bookmark('31'));
    third.end();
    expect((await scene.resumeWatch('31')).query['resourceVersion']).toBe('31');
    expect(scene.states).toEqual(['synced']);
  });

  it('lists in one piece when the pages took longer than the server remembers', async () => {
    scene.start({ pageSize: 1 });
    (await scene.next()).reply(200, page('7', thing('a', '3')));
    (await scene.next()).reply(410, { kind: 'Status', code: 410, reason: 'Expired' });
    const whole = await scene.nextAfter(188);
    expect(whole.query).toEqual({});
    whole.reply(200, list('9', thing('a', '3'), thing('b', '8')));
    await scene.reflector.synced;
    expect(scene.changes).toEqual(['a:red<undefined', 'b:red<undefined']);
    (await scene.next()).reply(410, {});
    expect((await scene.nextAfter(375)).query).toEqual({ limit: '1' });
  });

  it('empties the cache when the resource goes, and fills it when it comes back', async () => {
    scene.start();
    const watch = await scene.beginWatch('7', thing('a', '3'));
    watch.send(bookmark('9'));
    watch.end();
    (await scene.next()).reply(404, {});
    await until(() => expect(scene.states).toEqual(['synced', 'not-found']));
    expect(scene.reflector.cache.size).toBe(0);
    (await scene.nextAfter(188)).reply(200, list('12', thing('b', '11')));
    await until(() => expect(scene.states.at(-1)).toBe('synced'));
    expect(scene.changes).toEqual(['a:red<undefined', 'a:undefined<red', 'b:red<undefined']);
  });

  it('lists anew when the server is before the version that it once told', async () => {
    scene.start();
    const watch = await scene.beginWatch('900', thing('a', '899'));
    watch.send(bookmark('1000'));
    watch.end();
    (await scene.next()).reply(200, list('950'));
    const listing = await scene.next();
    expect(listing.query).toEqual({ limit: '500' });
    listing.reply(200, list('950', thing('b', '800')));
    expect((await scene.next()).query['resourceVersion']).toBe('950');
    expect(scene.changes).toEqual(['a:red<undefined', 'a:undefined<red', 'b:red<undefined']);
  });
});

describe('a reflector that is stopped', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['before it begins', async () => undefined],
    ['during a listing', () => scene.next()],
    [
      'during a wait',
      async () => {
        (await scene.next()).reply(500, {});
        await scene.waits();
      },
    ],
  ])('%s leaves nothing, and was never in step', async (_, arrive) => {
    scene.start();
    await arrive();
    scene.stop.abort();
    await scene.reflector.stopped;
    await expect(scene.reflector.synced).rejects.toMatchObject({ code: 'aborted' });
    expect(scene.timers.waiting).toBe(0);
    expect(scene.states).not.toContain('synced');
  });

  it('during a watch ends the connection, and takes up nothing more', async () => {
    scene.start();
    const watch = await scene.beginWatch('7', thing('a', '3'));
    watch.send(event('ADDED', thing('b', '8')), event('ADDED', thing('c', '9')));
    await until(() => expect(scene.reflector.cache.size).toBe(3));
    scene.stop.abort();
    await scene.reflector.stopped;
    await watch.closed;
    await scene.reflector.synced;
    expect(scene.states).toEqual(['synced']);
  });

  it('by its own listener takes up nothing more', async () => {
    scene.start({
      onChange: (name) => {
        scene.changes.push(name);
        if (name === 'b') scene.stop.abort();
      },
    });
    const watch = await scene.beginWatch('7', thing('a', '3'));
    watch.send(event('ADDED', thing('b', '8')), event('ADDED', thing('c', '9')));
    await scene.reflector.stopped;
    expect(scene.changes).toEqual(['a', 'b']);
  });
});
