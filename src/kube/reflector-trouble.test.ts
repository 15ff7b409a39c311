import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ReflectorScene, startReflectorScene, until } from '../../test/support/reflector-scene.ts';
import { bookmark, event, list, page, thing } from '../../test/support/things.ts';

let scene: ReflectorScene;

beforeEach(async () => {
  scene = await startReflectorScene();
});

afterEach(() => scene[Symbol.asyncDispose]());

describe('a reflector in trouble', () => {
  it('waits longer and longer while the server is away, and not more than half a minute', async () => {
    scene.start();
    let attempt = await scene.next();
    for (const ms of [188, 375, 750, 1500, 3000, 6000, 12_000, 22_500, 22_500]) {
      attempt.reply(500, {});
      attempt = await scene.nextAfter(ms);
    }
    expect(scene.states).toEqual(['unavailable']);
    attempt.reply(200, list('7'));
    (await scene.next()).cut();
    expect((await scene.nextAfter(22_500)).query).toEqual({ limit: '1' });
  });

  it('begins with short waits again after a watch that was of use', async () => {
    scene.start();
    (await scene.next()).reply(500, {});
    (await scene.nextAfter(188)).reply(500, {});
    (await scene.nextAfter(375)).reply(200, list('7'));
    const heard = await scene.next();
    heard.send(event('ADDED', thing('a', '8')));
    await until(() => expect(scene.changes).toHaveLength(1));
    heard.cut();
    (await scene.nextAfter(188)).reply(500, {});
    (await scene.nextAfter(375)).reply(200, list('8'));
    const quiet = await scene.next();
    quiet.open();
    await until(() => expect(scene.states.at(-1)).toBe('synced'));
    scene.timers.freeze(5_000);
    quiet.cut();
    await scene.nextAfter(188);
  });

  it('does not hurry after a server that ends each watch at once', async () => {
    scene.start();
    (await scene.beginWatch('7')).end();
    (await scene.nextAfter(188)).reply(200, list('7'));
    (await scene.next()).end();
    await scene.nextAfter(375);
    expect(scene.states).toEqual(['synced']);
  });

  it('takes silence for trouble only when a question gets no answer either', async () => {
    scene.start({ client: await scene.connect({ idleMs: 300, timeoutMs: 1000 }) });
    await (await scene.beginWatch('7')).closed;
    (await scene.nextAfter(188)).reply(200, page('7'));
    const watch = await scene.next();
    watch.open();
    await watch.closed;
    await scene.nextAfter(375);
    expect(scene.states).toEqual(['synced']);
    await scene.nextAfter(750);
    expect(scene.states).toEqual(['synced', 'synced timeout']);
  });

  it('tells a state once, and when the watch is back that all is well', async () => {
    scene.start();
    const watch = await scene.beginWatch('7', thing('a', '3'));
    watch.cut();
    (await scene.nextAfter(188)).reply(503, {});
    (await scene.nextAfter(375)).reply(503, {});
    (await scene.nextAfter(750)).reply(403, { kind: 'Status', reason: 'Forbidden', message: 'no' });
    (await scene.nextAfter(1500)).reply(200, list('7'));
    (await scene.next()).open();
    await until(() => expect(scene.states.at(-1)).toBe('synced'));
    expect(scene.states.slice(1, 2)).toEqual(['synced unavailable']);
    expect(scene.states.slice(-2)).toEqual(['synced forbidden', 'synced']);
    expect(scene.reflector.cache.size).toBe(1);
    expect(scene.changes).toHaveLength(1);
  });

  it('takes an unknown resource for an empty collection, and looks for it every few seconds', async () => {
    scene.start();
    let attempt = await scene.next();
    for (const ms of [188, 375, 750, 1500, 3000, 3750, 3750]) {
      attempt.reply(404, {});
      attempt = await scene.nextAfter(ms);
    }
    expect(scene.states).toEqual(['not-found']);
    attempt.reply(200, list('7', thing('a', '3')));
    (await scene.next()).send(bookmark('8'));
    await scene.reflector.synced;
    await until(() => expect(scene.states).toEqual(['not-found', 'synced']));
    expect(scene.reflector.cache.size).toBe(1);
  });

  it.each([
    ['an unknown type', event('NEW', thing('a', '8'))],
    ['no object', { type: 'ADDED' }],
    ['nothing in it', null],
  ])('lists anew after an event with %s', async (_, odd) => {
    scene.start();
    const watch = await scene.beginWatch('7');
    watch.send(odd);
    expect((await scene.nextAfter(188)).query).toEqual({ limit: '500' });
    expect(scene.states).toEqual(['synced', 'synced protocol']);
  });

  it('does not take an answer that is no list', async () => {
    scene.start();
    (await scene.next()).reply(200, { kind: 'Welcome' });
    await scene.waits();
    expect(scene.states).toEqual(['protocol']);
  });

  it('goes on when its listener or its transformation throws, and says so', async () => {
    scene.start({
      transform: (raw) => {
        if (raw.color === 'odd') throw new Error('no such color');
        return raw.color;
      },
      onChange: (name, now, before) => {
        scene.changes.push(`${name}:${now}<${before}`);
        if (now === 'bad') throw new Error('a fault');
      },
    });
    const watch = await scene.beginWatch(
      '7',
      thing('a', '1', 'odd'),
      thing('b', '2', 'bad'),
      thing('c', '3'),
    );
    watch.send(event('MODIFIED', thing('c', '8', 'odd')), event('MODIFIED', thing('b', '9', 'blue')));
    await until(() => expect(scene.changes.at(-1)).toBe('b:blue<bad'));
    expect(scene.changes).toEqual(['b:bad<undefined', 'c:red<undefined', 'c:undefined<red', 'b:blue<bad']);
    expect(scene.states.filter((state) => state.includes('protocol'))).not.toEqual([]);
    expect([...scene.reflector.cache.all()]).toEqual(['blue']);
  });
});
