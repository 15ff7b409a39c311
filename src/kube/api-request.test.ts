import { describe, expect, it } from 'vitest';
import { describeRequest, type KubeRequest } from './api-request.ts';

describe('describeRequest', () => {
  it.each<[KubeRequest['method'], string, string, string, string]>([
    ['GET', '/api/v1/namespaces/kube-system', 'get', 'namespaces', 'get namespaces kube-system'],
    [
      'GET',
      '/api/v1/namespaces/kube-system/configmaps/a',
      'get',
      'configmaps',
      'get configmaps kube-system/a',
    ],
    ['POST', '/api/v1/namespaces/default/events', 'create', 'events', 'create events default'],
    [
      'GET',
      '/apis/k3s.cattle.io/v1/etcdsnapshotfiles',
      'list',
      'etcdsnapshotfiles.k3s.cattle.io',
      'list etcdsnapshotfiles.k3s.cattle.io',
    ],
    [
      'PUT',
      '/apis/k3s.cattle.io/v1/etcdsnapshotfiles/local-a%20b',
      'update',
      'etcdsnapshotfiles.k3s.cattle.io',
      'update etcdsnapshotfiles.k3s.cattle.io local-a b',
    ],
    ['GET', '/version', 'list', '/version', 'list /version'],
  ])('reads %s %s', (method, path, verb, resource, text) => {
    expect(describeRequest({ method, path })).toEqual({ verb, resource, text });
  });
});
