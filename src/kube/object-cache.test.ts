import { beforeEach, describe, expect, it } from 'vitest';
import { WritableObjectCache } from './object-cache.ts';

interface Thing {
  readonly node?: string;
  readonly color: string;
}

let cache: WritableObjectCache<Thing, 'node' | 'color'>;

beforeEach(() => {
  cache = new WritableObjectCache({ node: ({ node }) => node, color: ({ color }) => color });
});

const red: Thing = { node: 'n1', color: 'red' };
const blue: Thing = { node: 'n1', color: 'blue' };
const nowhere: Thing = { color: 'red' };

describe('a cache of objects', () => {
  it('returns what was set, alone, all and by index', () => {
    cache.set('a', { object: red, version: '1' });
    cache.set('b', { object: blue, version: '2' });
    cache.set('c', { object: nowhere, version: '3' });
    expect(cache.size).toBe(3);
    expect([cache.get('a'), cache.get('x')]).toEqual([red, undefined]);
    expect([...cache.all()]).toEqual([red, blue, nowhere]);
    expect(cache.by('node', 'n1')).toEqual([red, blue]);
    expect(cache.by('color', 'red')).toEqual([red, nowhere]);
    expect(cache.by('node', 'n2')).toEqual([]);
    expect([...cache.keys('node')]).toEqual(['n1']);
  });

  it('tells what changed, and nothing for a version that it has', () => {
    expect(cache.set('a', { object: red, version: '1' })).toEqual({ name: 'a', now: red, before: undefined });
    expect(cache.set('a', { object: blue, version: '1' })).toBeUndefined();
    expect(cache.get('a')).toBe(red);
    expect(cache.set('a', { object: blue, version: '2' })).toEqual({ name: 'a', now: blue, before: red });
    expect(cache.remove('a')).toEqual({ name: 'a', now: undefined, before: blue });
    expect(cache.remove('a')).toBeUndefined();
    expect(cache.size).toBe(0);
  });

  it('keeps its indexes in step with changes', () => {
    cache.set('a', { object: red, version: '1' });
    cache.set('a', { object: blue, version: '2' });
    expect([cache.by('color', 'red'), cache.by('color', 'blue')]).toEqual([[], [blue]]);
    expect([...cache.keys('color')]).toEqual(['blue']);
    cache.set('a', { object: nowhere, version: '3' });
    expect(cache.by('node', 'n1')).toEqual([]);
    cache.remove('a');
    expect(cache.by('color', 'red')).toEqual([]);
  });

  it('becomes equal to a listing, and tells exactly the difference', () => {
    cache.set('stays', { object: red, version: '1' });
    cache.set('changes', { object: red, version: '2' });
    cache.set('goes', { object: red, version: '3' });
    const changes = cache.replace(
      new Map([
        ['stays', { object: { ...red }, version: '1' }],
        ['changes', { object: blue, version: '5' }],
        ['comes', { object: nowhere, version: '4' }],
      ]),
    );
    expect(changes).toEqual([
      { name: 'goes', now: undefined, before: red },
      { name: 'changes', now: blue, before: red },
      { name: 'comes', now: nowhere, before: undefined },
    ]);
    expect([...cache.all()]).toEqual([red, blue, nowhere]);
    expect(cache.by('color', 'red')).toEqual([red, nowhere]);
  });

  it('lets itself be walked while it changes', () => {
    cache.set('a', { object: red, version: '1' });
    cache.set('b', { object: blue, version: '2' });
    const seen: Thing[] = [];
    for (const thing of cache.all()) {
      seen.push(thing);
      cache.remove('b');
    }
    expect(seen).toEqual([red]);
  });
});
