import { expect, it } from 'vitest';
import { fromUserMetadata, parseSidecar, toUserMetadata } from './s3-metadata.ts';

it('writes what k3s reads, and leaves out what is unknown or no header value', () => {
  expect(toUserMetadata('k3s', 'node-1', { clusterId: 'c', tokenHash: 't' })).toEqual({
    'k3s-cluster-id': 'c',
    'k3s-node-name': 'node-1',
    'k3s-token-hash': 't',
  });
  expect(toUserMetadata('rke2', 'żółw', { clusterId: 'a\r\nb' })).toEqual({});
});

it.each([
  [{ 'K3s-Cluster-Id': 'c', 'K3s-Node-Name': 'n', 'K3s-Token-Hash': 't' }],
  [{ 'rke2-cluster-id': 'c', 'RKE2-NODE-NAME': 'n', 'Rke2-Token-Hash': 't' }],
])('reads %o', (metadata) => {
  expect(fromUserMetadata(metadata)).toEqual({ nodeName: 'n', facts: { clusterId: 'c', tokenHash: 't' } });
});

it('does without', () => {
  expect(fromUserMetadata(undefined)).toEqual({ nodeName: undefined, facts: {} });
  expect(fromUserMetadata({ 'k3s-node-name': '' })).toEqual({ nodeName: undefined, facts: {} });
});

it.each([
  ['{"a":"b"}', { a: 'b' }],
  ['{"a":"b","c":1}', { a: 'b' }],
  ['{}', undefined],
  ['[]', undefined],
  ['null', undefined],
  ['{"a"', undefined],
])('a sidecar of %s is %o', (text, metadata) => {
  expect(parseSidecar(text)).toEqual(metadata);
});
