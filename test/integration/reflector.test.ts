import { copyFile, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type KubeClient } from '../../src/kube/client.ts';
import { openCollection } from '../../src/kube/collection.ts';
import { createSnapshotFilesApi, type SnapshotFilesApi } from '../../src/kube/snapshot-files-api.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { type FaultFront, startFaultFront } from '../support/fault-front.ts';
import { COLLECTION, follow, kubeconfigVia, readyFor, recordOf, until } from '../support/followed-records.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const definitions = fileURLToPath(new URL('../../deploy/crds/', import.meta.url));
const never = new AbortController().signal;

let cluster: ControlPlane;
let client: KubeClient;
let files: SnapshotFilesApi;
let front: FaultFront;
/** Through the front. */
let fronted: KubeClient;
/** They come about every minute: the wait begins with the first test. */
let bookmark: Promise<{ before: string; after: string | undefined }>;

beforeAll(async () => {
  cluster = await startControlPlane();
  client = await connect(cluster.kubeconfig);
  files = createSnapshotFilesApi(client);
  front = await startFaultFront(cluster.url, { ca: await readFile(cluster.caFile, 'utf8') });
  fronted = await connect(await kubeconfigVia(cluster, front.url, 'fronted'));
  await readyFor(client);
  bookmark = firstBookmark();
});

afterAll(async () => {
  await fronted?.[Symbol.asyncDispose]();
  await front?.[Symbol.asyncDispose]();
  await client?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

async function firstBookmark() {
  const nobody = openCollection({ client, path: COLLECTION, labelSelector: 'test=nobody' });
  const before = await nobody.version(never);
  let after: string | undefined;
  for await (const event of nobody.watch({ version: before, seconds: 290, onOpen: () => {} }, never)) {
    if (event.type === 'bookmark') after = event.version;
    break;
  }
  return { before, after };
}

async function kubectl(...args: string[]): Promise<void> {
  const { stderr, code } = await cluster.kubectl(args);
  expect({ stderr, code }).toMatchObject({ code: 0 });
}

async function create(label: string, names: readonly string[], note = ''): Promise<void> {
  for (const name of names) await files.create(recordOf(name, label, note), never);
}

async function change(name: string, note: string): Promise<void> {
  const file = await files.get(name, never);
  if (file === undefined) throw new Error(`no record ${name}`);
  await files.update({ ...file, spec: { ...file.spec, metadata: { note } } }, never);
}

const remove = (...names: string[]) => kubectl('delete', 'etcdsnapshotfile', ...names);
const watches = () => front.requests.filter(({ path }) => path.includes('watch=1'));

describe('a reflector of records', () => {
  it('holds what is there, and hears of what comes, changes and goes', async () => {
    await create('simple', ['simple-a', 'simple-b'], 'one');
    await using followed = follow(client, 'simple');
    await followed.reflector.synced;
    expect(followed.changes).toEqual(['simple-a:one<undefined', 'simple-b:one<undefined']);
    await until(() => expect(followed.states).toEqual(['synced']));
    await change('simple-a', 'two');
    await create('simple', ['simple-c'], 'one');
    await create('other', ['other-a']);
    await remove('simple-b');
    await until(() => expect(followed.changes).toHaveLength(5));
    expect(followed.changes.slice(2)).toEqual([
      'simple-a:two<one',
      'simple-c:one<undefined',
      'simple-b:undefined<one',
    ]);
    expect([...followed.reflector.cache.all()].sort()).toEqual(['one', 'two']);
  });

  it('takes 2,000 records page by page, and sees them all go', async () => {
    const names = Array.from({ length: 2000 }, (_, at) => `many-${at}`);
    await Promise.all(
      [0, 1, 2, 3].map((lane) =>
        create(
          'many',
          names.filter((_, at) => at % 4 === lane),
        ),
      ),
    );
    const before = front.requests.length;
    await using followed = follow(fronted, 'many');
    await followed.reflector.synced;
    expect(followed.reflector.cache.size).toBe(2000);
    expect(new Set(followed.changes).size).toBe(2000);
    const pages = front.requests.slice(before).filter(({ path }) => path.includes('limit=500'));
    expect(pages.length).toBeGreaterThanOrEqual(4);
    await kubectl('delete', 'etcdsnapshotfile', '-l', 'test=many', '--wait=false');
    await until(() => expect(followed.reflector.cache.size).toBe(0));
    expect(followed.changes).toHaveLength(4000);
  });
});

describe('a reflector in trouble', () => {
  it('goes on after a watch that was cut in the middle of a line', async () => {
    await create('cut', ['cut-a']);
    const before = watches().length;
    front.setRule(({ path }) =>
      path.includes('watch=1') && watches().length === before + 1
        ? { cutAfterResponseBytes: 200_000 }
        : undefined,
    );
    await using followed = follow(fronted, 'cut');
    await until(() => expect(watches()).toHaveLength(before + 1));
    const note = 'x'.repeat(400_000);
    await change('cut-a', note);
    await create('cut', ['cut-b']);
    await until(() => expect(followed.reflector.cache.size).toBe(2));
    await until(() => expect(followed.states).toEqual(['synced', 'synced unavailable', 'synced']));
    expect(followed.changes).toEqual(['cut-a:<undefined', `cut-a:${note}<`, 'cut-b:<undefined']);
  });

  it.each([429, 500, 401])('outlasts answers of %i to its listing and to its watch', async (status) => {
    const label = `status-${status}`;
    await create(label, [label]);
    let refused = 0;
    front.setRule(({ path }) => {
      if (!path.includes(label) || refused >= 4) return undefined;
      if (refused === 2 && !path.includes('watch=1')) return undefined;
      refused += 1;
      return { status };
    });
    await using followed = follow(fronted, label);
    await followed.reflector.synced;
    await until(() => expect(refused).toBe(4));
    await change(label, 'seen');
    await until(() => expect(followed.reflector.cache.get(label)).toBe('seen'));
    const code = status === 401 ? 'unauthenticated' : 'unavailable';
    await until(() => expect(followed.states).toEqual([code, 'synced', `synced ${code}`, 'synced']));
  });

  it('works through a slow network', async () => {
    await create(
      'slow',
      Array.from({ length: 60 }, (_, at) => `slow-${at}`),
    );
    await using slow = await startTcpFront(new URL(cluster.url).host);
    slow.throttle(40_000);
    await using patient = await connect(await cluster.kubeconfigVia(`https://${slow.endpoint}`));
    await using followed = follow(patient, 'slow');
    await followed.reflector.synced;
    expect(followed.reflector.cache.size).toBe(60);
    await change('slow-7', 'seen');
    await until(() => expect(followed.reflector.cache.get('slow-7')).toBe('seen'));
    expect(followed.states).toEqual(['synced']);
  });

  it('notices a watch that hangs, and hears of what happened meanwhile', async () => {
    await create('idle', ['idle-a'], 'one');
    await using mute = await startTcpFront(new URL(cluster.url).host);
    await using impatient = await connect(await cluster.kubeconfigVia(`https://${mute.endpoint}`), {
      timeoutMs: 1000,
      idleMs: 1500,
    });
    await using followed = follow(impatient, 'idle');
    await followed.reflector.synced;
    mute.hang();
    await change('idle-a', 'two');
    await until(() => expect(followed.states.at(-1)).toBe('synced timeout'));
    expect(followed.reflector.cache.get('idle-a')).toBe('one');
    mute.heal();
    await until(() => expect(followed.reflector.cache.get('idle-a')).toBe('two'));
  });

  it('leaves no connection when it is stopped during a listing and during a watch', async () => {
    await create('stop', ['stop-a']);
    await using tcp = await startTcpFront(new URL(cluster.url).host);
    await using counted = await connect(await cluster.kubeconfigVia(`https://${tcp.endpoint}`));
    tcp.hang();
    const listing = follow(counted, 'stop');
    await until(() => expect(tcp.connections).toBe(1));
    await listing[Symbol.asyncDispose]();
    await expect(listing.reflector.synced).rejects.toMatchObject({ code: 'aborted' });
    tcp.heal();
    const watching = follow(counted, 'stop');
    await watching.reflector.synced;
    await watching[Symbol.asyncDispose]();
    await counted[Symbol.asyncDispose]();
    await until(() => expect(tcp.connections).toBe(0));
  });

  it('uses the new token when the old one is refused', async () => {
    front.setRule(() => undefined);
    const file = await kubeconfigVia(cluster, front.url, 'rotated');
    await copyFile(file, `${file}-old`);
    await using rotated = await connect(file);
    await using stale = await connect(`${file}-old`);
    await create('token', ['token-a']);
    await rotated.request({ method: 'GET', path: COLLECTION, query: { limit: '1' }, signal: never });
    await kubectl('delete', 'serviceaccount', 'rotated');
    await copyFile(await kubeconfigVia(cluster, front.url, 'rotated'), file);
    // The API server remembers for some seconds whose a token was.
    await until(() =>
      expect(stale.request({ method: 'GET', path: COLLECTION, signal: never })).rejects.toMatchObject({
        code: 'unauthenticated',
      }),
    );
    await using followed = follow(rotated, 'token');
    await followed.reflector.synced;
    await change('token-a', 'seen');
    await until(() => expect(followed.reflector.cache.get('token-a')).toBe('seen'));
    expect(followed.states).toEqual(['synced']);
  });

  it('is told by bookmarks how far the collection is, though nothing of it changed', async () => {
    const { before, after } = await bookmark;
    expect(Number(after)).toBeGreaterThan(Number(before));
  });

  it('is not fooled by a restart of the API server', async () => {
    await create('restart', ['restart-a', 'restart-b']);
    await using followed = follow(client, 'restart');
    await followed.reflector.synced;
    await cluster.restart();
    await change('restart-a', 'two');
    await until(() => expect(followed.reflector.cache.get('restart-a')).toBe('two'));
    await until(() => expect(followed.states.at(-1)).toBe('synced'));
    expect(new Set(followed.states)).toEqual(new Set(['synced', 'synced unavailable']));
    expect(followed.changes).toEqual(['restart-a:<undefined', 'restart-b:<undefined', 'restart-a:two<']);
  });

  it('lists anew what the server has forgotten, and tells exactly what changed', async () => {
    await create('gone', ['gone-a', 'gone-b', 'gone-c', 'gone-d'], 'one');
    await using tcp = await startTcpFront(new URL(cluster.url).host);
    await using cutOff = await connect(await cluster.kubeconfigVia(`https://${tcp.endpoint}`), {
      timeoutMs: 1000,
    });
    const asked: string[] = [];
    const noting: Pick<KubeClient, 'request' | 'watch'> = {
      request: (request) => {
        asked.push(`limit=${request.query?.['limit']}`);
        return cutOff.request(request);
      },
      watch: (request) => {
        asked.push('watch');
        return cutOff.watch(request);
      },
    };
    await using followed = follow(noting, 'gone');
    await followed.reflector.synced;
    await until(() => expect(asked).toEqual(['limit=500', 'watch']));
    tcp.hang();
    tcp.reset();
    await until(() => expect(followed.states.at(-1)).toMatch(/^synced ./));
    await remove('gone-a', 'gone-c');
    await create('gone', ['gone-c', 'gone-e'], 'two');
    await change('gone-b', 'two');
    // Neither etcd nor the memory of the API server knows the way from then to now.
    await cluster.etcd.compact();
    await cluster.restart();
    followed.changes.length = 0;
    tcp.heal();
    await until(() => expect(asked.slice(-4)).toEqual(['limit=1', 'watch', 'limit=500', 'watch']));
    expect(followed.changes.toSorted()).toEqual([
      'gone-a:undefined<one',
      'gone-b:two<one',
      'gone-c:two<one',
      'gone-e:two<undefined',
    ]);
    await change('gone-d', 'two');
    await until(() => expect(followed.reflector.cache.get('gone-d')).toBe('two'));
    expect(followed.states.at(-1)).toBe('synced');
  });
});

describe('a reflector of a resource that is not there', () => {
  it('picks it up when it comes, empties itself when it goes, and fills itself when it is back', async () => {
    await using bare = await startControlPlane({ crds: false });
    await using other = await connect(bare.kubeconfig);
    const records = createSnapshotFilesApi(other);
    await using followed = follow(other, 'crd');
    await until(() => expect(followed.states).toEqual(['not-found']));
    for (const note of ['first', 'second']) {
      await bare.kubectl(['apply', '-f', definitions]);
      await until(() => expect(followed.states.at(-1)).toBe('synced'));
      await records.create(recordOf('crd-a', 'crd', note), never);
      await until(() => expect(followed.reflector.cache.get('crd-a')).toBe(note));
      await bare.kubectl(['delete', '-f', definitions]);
      await until(() => expect(followed.states.at(-1)).toBe('not-found'));
      expect(followed.reflector.cache.size).toBe(0);
    }
    expect(followed.changes).toEqual([
      'crd-a:first<undefined',
      'crd-a:undefined<first',
      'crd-a:second<undefined',
      'crd-a:undefined<second',
    ]);
  });
});
