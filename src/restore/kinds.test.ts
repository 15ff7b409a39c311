import { describe, expect, it } from 'vitest';
import { countKinds } from './kinds.ts';

/** An etcd with these keys. */
function etcdWith(keys: readonly string[]) {
  const between = (from: string, to: string) => keys.filter((key) => key >= from && key < to).sort();
  return {
    count: async (from: string, to: string) => between(from, to).length,
    firstKey: async (from: string, to: string) => between(from, to)[0],
  };
}

describe('countKinds', () => {
  it('names resources as kubectl does, the most frequent first', async () => {
    const keys = [
      '/registry/pods/default/a',
      '/registry/pods/kube-system/b',
      '/registry/podtemplates/default/a',
      '/registry/minions/node-1',
      '/registry/services/specs/default/kubernetes',
      '/registry/services/endpoints/default/kubernetes',
      '/registry/apiextensions.k8s.io/customresourcedefinitions/x',
      '/registry/k3s.cattle.io/etcdsnapshotfiles/y',
      '/registry/k3s.cattle.io/addons/kube-system/z',
      '/registry/ranges/serviceips',
      '/registryother/things/a',
      '/bootstrap/abc',
    ];
    expect(await countKinds(etcdWith(keys), new AbortController().signal)).toEqual(
      new Map([
        ['pods', 2],
        ['addons.k3s.cattle.io', 1],
        ['customresourcedefinitions.apiextensions.k8s.io', 1],
        ['endpoints', 1],
        ['etcdsnapshotfiles.k3s.cattle.io', 1],
        ['nodes', 1],
        ['podtemplates', 1],
        ['ranges', 1],
        ['services', 1],
      ]),
    );
  });

  it('finds nothing where there is no Kubernetes', async () => {
    expect(await countKinds(etcdWith(['a', '/registry']), new AbortController().signal)).toEqual(new Map());
  });
});
