import { describe, expect, it } from 'vitest';
import { fromAnswer, fromConnection, isExpired, isObjectMissing } from './api-errors.ts';
import { JSON_PATCH, type KubeRequest } from './api-request.ts';

const request: KubeRequest = {
  method: 'POST',
  path: '/apis/k3s.cattle.io/v1/etcdsnapshotfiles',
  signal: new AbortController().signal,
};

function status(reason: string, details?: object): string {
  return JSON.stringify({ kind: 'Status', reason, message: `because ${reason}`, details });
}

function systemError(code: string): Error {
  return Object.assign(new Error(`connect failed\nmore`), { code });
}

describe('fromAnswer', () => {
  it.each<[number, string, string, boolean]>([
    [400, status('BadRequest'), 'protocol', false],
    [401, status('Unauthorized'), 'unauthenticated', true],
    [403, status('Forbidden'), 'forbidden', false],
    [404, status('NotFound', { name: 'x' }), 'not-found', false],
    [404, '404 page not found\n', 'not-found', false],
    [405, status('MethodNotAllowed'), 'unavailable', true],
    [409, status('AlreadyExists', { name: 'x' }), 'exists', true],
    [409, status('Conflict', { name: 'x' }), 'conflict', true],
    [410, status('Expired'), 'conflict', true],
    [422, status('Invalid'), 'protocol', false],
    [429, status('TooManyRequests'), 'unavailable', true],
    [500, status('InternalError'), 'unavailable', true],
    [502, '<html>Bad Gateway</html>', 'unavailable', true],
    [503, '{"not": "a status"', 'unavailable', true],
    [504, status('Timeout'), 'timeout', true],
    [307, '', 'protocol', false],
  ])('translates %i %s to %s', (httpStatus, body, code, retryable) => {
    const error = fromAnswer(request, httpStatus, body);
    expect(error).toMatchObject({ code, retryable });
    expect(error.message).toBe('Cannot create etcdsnapshotfiles.k3s.cattle.io in Kubernetes');
    expect(error.hint).toBeTruthy();
    expect(error.why).toBeTruthy();
  });

  it('says what to do while the definition of a resource is being deleted, which then takes nothing new', () => {
    const { hint } = fromAnswer(request, 405, status('MethodNotAllowed'));
    expect(hint).toMatch(/etcdsnapshotfiles\.k3s\.cattle\.io is gone, and install it again: kubectl apply/);
  });

  it('names verb and resource as an RBAC rule does when it is forbidden', () => {
    const { hint } = fromAnswer(request, 403, status('Forbidden'));
    expect(hint).toContain('"create" etcdsnapshotfiles.k3s.cattle.io');
  });

  it('tells a patch that does not fit the object from one that breaks its schema', () => {
    const patch: KubeRequest = { ...request, method: 'PATCH', contentType: JSON_PATCH };
    const code = (sent: KubeRequest, details?: object) => {
      const { code, retryable } = fromAnswer(sent, 422, status('Invalid', details));
      return `${code} ${retryable}`;
    };
    expect(code(patch, {})).toBe('conflict true');
    expect(code(patch, { name: 'x', kind: 'ETCDSnapshotFile' })).toBe('protocol false');
    expect(code({ ...patch, contentType: 'application/merge-patch+json' }, {})).toBe('protocol false');
  });

  it('tells a missing object from a missing resource', () => {
    const object = fromAnswer(request, 404, status('NotFound', { name: 'x', kind: 'etcdsnapshotfiles' }));
    const resource = fromAnswer(request, 404, status('NotFound', {}));
    const path = fromAnswer(request, 404, '404 page not found\n');
    expect([object, resource, path].map(isObjectMissing)).toEqual([true, false, false]);
    expect(resource.hint).toContain('kubectl apply -f deploy/crds/');
    expect(path.hint).toContain('kubectl apply -f deploy/crds/');
    expect(path.why).toBe('the API server knows no such resource');
    expect(object.hint).not.toContain('CustomResourceDefinition');
  });

  it('tells what has expired from other conflicts', () => {
    const gone = fromAnswer(request, 410, status('Expired'));
    const conflict = fromAnswer(request, 409, status('Conflict', { name: 'x' }));
    expect([gone, conflict, new Error('410')].map(isExpired)).toEqual([true, false, false]);
  });

  it('does not ask for a CustomResourceDefinition where a built-in resource is missing', () => {
    const core: KubeRequest = { ...request, method: 'GET', path: '/api/v1/namespaces/kube-system' };
    expect(fromAnswer(core, 404, '').hint).toContain('server address');
  });
});

describe('fromConnection', () => {
  it.each([
    ['ECONNREFUSED', 'unavailable', true],
    ['ECONNRESET', 'unavailable', true],
    ['UND_ERR_SOCKET', 'unavailable', true],
    ['ENOTFOUND', 'unavailable', false],
    ['UND_ERR_CONNECT_TIMEOUT', 'timeout', true],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls', false],
    ['CERT_HAS_EXPIRED', 'tls', false],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls', false],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls', false],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'unauthenticated', false],
  ])('translates %s to %s', (systemCode, code, retryable) => {
    const error = fromConnection(request, 'https://10.0.0.1:6443', systemError(systemCode));
    expect(error).toMatchObject({ code, retryable });
    expect(error.why).toBe(`https://10.0.0.1:6443: connect failed (${systemCode})`);
  });
});
