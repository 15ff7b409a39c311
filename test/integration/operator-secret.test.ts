import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FaultFront, startFaultFront } from '../support/fault-front.ts';
import { type OperatorScene, putObject, startScene } from '../support/operator-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';

const BUCKET = 'etcd';
const SECRET = 'k3s-etcd-snapshot-s3-config';
const CA_MAP = 'etcd-snapshot-s3-ca';
/** Values that nobody may ever read anywhere, but in the Secret. */
const WRONG = { key: 'AKIA-NOT-THE-KEY', secret: 'not-the-secret-of-anybody', bucket: 'Not/A:Bucket' };

let scene: OperatorScene;
let plain: S3Server;
let secure: S3Server;
let front: FaultFront;
/** Was given --s3 and the name of the Secret, and nothing else; no resync comes to its help. */
let operator: RunningOperator;

beforeAll(async () => {
  [scene, plain, secure] = await Promise.all([
    startScene(),
    startS3({ kind: 'versitygw' }),
    startS3({ kind: 'versitygw', tls: true }),
  ]);
  front = await startFaultFront(plain.url);
  for (const s3 of [plain, secure]) {
    await s3.createBucket(BUCKET);
    for (const folder of ['one', 'two']) {
      const origin = { cluster: scene.clusterId, node: 'node-1' };
      await putObject(
        s3,
        BUCKET,
        `${folder}/${folder}-${s3 === secure ? 'tls' : 'http'}-node-1-1730308816`,
        origin,
      );
    }
  }
  operator = await scene.operator({ node: 'node-1', args: ['--s3', `--s3-config-secret=${SECRET}`] });
  await operator.ready();
});

afterAll(async () => {
  await front?.[Symbol.asyncDispose]();
  await scene?.[Symbol.asyncDispose]();
  await plain?.[Symbol.asyncDispose]();
  await secure?.[Symbol.asyncDispose]();
});

/** The seed document's example, with values that work here. */
const example = (change: Readonly<Record<string, string>> = {}) => ({
  'etcd-s3-endpoint': front.endpoint,
  'etcd-s3-endpoint-ca': '',
  'etcd-s3-endpoint-ca-name': '',
  'etcd-s3-skip-ssl-verify': 'false',
  'etcd-s3-access-key': plain.accessKey,
  'etcd-s3-secret-key': plain.secretKey,
  'etcd-s3-bucket': BUCKET,
  'etcd-s3-folder': 'one',
  'etcd-s3-region': 'us-east-1',
  'etcd-s3-insecure': 'true',
  'etcd-s3-timeout': '5m',
  'etcd-s3-proxy': '',
  ...change,
});

async function write(stringData: Readonly<Record<string, string>>): Promise<void> {
  await scene.cluster.put(
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: SECRET, namespace: 'kube-system' },
      type: 'etcd.k3s.cattle.io/s3-config-secret',
      stringData,
    },
    'apply',
  );
}

const told = async (text: string) =>
  until(async () => {
    const events = await scene.cluster.events(SECRET, 'kube-system');
    return events.some(({ reason, message }) => reason === 'ETCDSnapshotS3Config' && message.includes(text));
  });
const recorded = (name: string) => scene.recordOf(`${name}-node-1-1730308816`);
/** The access keys that requests from the `from`th on were signed with. */
const signers = (from: number): readonly string[] =>
  front.requests
    .slice(from)
    .map(({ headers }) => /Credential=([^/]+)/.exec(headers.authorization ?? '')?.[1] ?? '');

describe('the Secret with the settings of S3', () => {
  it('need not be there at the start: that is told, stops nothing, and is cured by making it', async () => {
    expect(await operator.part('s3', false)).toContain('there is no such Secret');
    expect((await operator.get('/readyz')).status).toBe(200);
    await told('there is no such Secret');
    await write(example());
    await operator.part('s3', true);
    await recorded('one-http');
  });

  it('is live: another folder is in force at once, and the records of the first stay', async () => {
    const before = await recorded('one-http');
    await write(example({ 'etcd-s3-folder': 'two' }));
    await recorded('two-http');
    expect(await recorded('one-http')).toEqual(before);
    await write(example());
  });

  it('with wrong values is named by its keys, all at once, and takes nothing away; corrected, it works', async () => {
    const before = await recorded('one-http');
    await write(
      example({ 'etcd-s3-timeout': 'soon', 'etcd-s3-insecure': 'perhaps', 'etcd-s3-bucket': WRONG.bucket }),
    );
    const reason = await operator.part('s3', false);
    for (const key of ['etcd-s3-timeout', 'etcd-s3-insecure', 'etcd-s3-bucket']) {
      expect(reason).toContain(key);
      await told(key);
    }
    expect(await recorded('one-http')).toEqual(before);
    await write(example());
    await operator.part('s3', true);
  });

  it('with a key that is none of ours still works, and its Event says so', async () => {
    await write(example({ 'etcd-s3-bukcet': 'typo' }));
    await told('etcd-s3-bukcet');
    await operator.part('s3', true);
    await scene.cluster.run('delete', 'secret', SECRET, '-n=kube-system');
    await operator.part('s3', false);
    await write(example());
    await operator.part('s3', true);
  });

  it('deleted: S3 is out of use, its records stay; made again, all is as before', async () => {
    const before = await recorded('one-http');
    await scene.cluster.run('delete', 'secret', SECRET, '-n=kube-system');
    expect(await operator.part('s3', false)).toContain('there is no such Secret');
    expect(await recorded('one-http')).toEqual(before);
    await write(example());
    await operator.part('s3', true);
    expect(await recorded('one-http')).toEqual(before);
  });

  it('with a rotated key: the very next request is signed with it', async () => {
    await write(example({ 'etcd-s3-access-key': WRONG.key, 'etcd-s3-secret-key': WRONG.secret }));
    // What S3 answers is an Event of the Secret too: that is where people look who have just edited it.
    await told(await operator.part('s3', false));
    const from = front.requests.length;
    await write(example());
    await operator.part('s3', true);
    // What was under way with the old key may still arrive, and nothing of it after the first with the new one.
    const keys = signers(from);
    expect(keys).toContain(plain.accessKey);
    expect(keys.slice(keys.indexOf(plain.accessKey))).not.toContain(WRONG.key);
  });

  it('is live even while S3 hangs with the old settings: nothing waits for an answer that never comes', async () => {
    const from = front.requests.length;
    front.setRule(({ path }) => (path.startsWith('/hanging') ? 'hang' : undefined));
    await write(example({ 'etcd-s3-bucket': 'hanging' }));
    await until(() => front.requests.slice(from).some(({ path }) => path.startsWith('/hanging')));
    const hung = front.requests.length;
    await write(example());
    await until(() => front.requests.slice(hung).some(({ path }) => path.startsWith(`/${BUCKET}`)));
    front.setRule(() => undefined);
    await operator.part('s3', true);
  });

  it('names a ConfigMap with the CA, which is live too', async () => {
    const settings = {
      'etcd-s3-endpoint': secure.endpoint,
      'etcd-s3-insecure': 'false',
      'etcd-s3-endpoint-ca-name': CA_MAP,
    };
    // Of another name nothing may be read: that is told as it is, and not as if there were none.
    await write(example({ ...settings, 'etcd-s3-endpoint-ca-name': 'another-name' }));
    expect(await operator.part('s3', false)).toContain('another-name');
    await told('Call it etcd-snapshot-s3-ca');
    await write(example(settings));
    await until(async () => /certificate/i.test(await operator.part('s3', false)));
    const map = (pem: string) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: CA_MAP, namespace: 'kube-system' },
      data: { 'ca.crt': pem },
    });
    await scene.cluster.put(map(secure.ca?.pem ?? ''));
    await operator.part('s3', true);
    await recorded('one-tls');
    await scene.cluster.put(map('no certificate'), 'replace');
    expect(await operator.part('s3', false)).toContain(CA_MAP);
    await told(CA_MAP);
    await scene.cluster.put(map(secure.ca?.pem ?? ''), 'replace');
    await operator.part('s3', true);
    await write(example());
    await operator.part('s3', true);
  });

  it('rotated while an upload runs: the upload finishes on the old key, what comes after uses the new one', async () => {
    await write(example({ 'etcd-s3-folder': 'runs' }));
    await using saving = await scene.operator({
      node: 'node-2',
      args: ['--s3', `--s3-config-secret=${SECRET}`, '--snapshot-schedule-cron=@every 2s', '--name=slow'],
    });
    await saving.part('s3', true);
    const finish = Promise.withResolvers<void>();
    front.setRule(({ method, path }) =>
      method === 'PUT' && path.includes('slow-node-2') ? { after: finish.promise } : undefined,
    );
    const from = front.requests.length;
    const uploads = () => front.requests.slice(from).filter(({ method }) => method === 'PUT');
    await until(() => uploads().length > 0);
    const [upload] = uploads();
    const rotated = { 'etcd-s3-access-key': WRONG.key, 'etcd-s3-secret-key': WRONG.secret };
    await write(example({ ...rotated, 'etcd-s3-folder': 'runs', 'etcd-s3-timeout': 'soon' }));
    // In force in the process that uploads, before the upload is over: its end is a HEAD that compares the sizes.
    await saving.part('s3', false);
    const [name = 'none'] = /slow-node-2-\d+/.exec(upload?.path ?? '') ?? [];
    const ended = () =>
      front.requests.slice(from).some(({ method, path }) => method === 'HEAD' && path.includes(name));
    expect(ended()).toBe(false);
    await write(example({ ...rotated, 'etcd-s3-folder': 'runs' }));
    await until(() => signers(from).includes(WRONG.key));
    finish.resolve();
    front.setRule(() => undefined);
    await until(async () => {
      const records = await scene.cluster.records(name);
      return records.some(({ spec, status }) => spec.s3 !== undefined && status?.readyToUse === true);
    });
    await until(async () => (await saving.log()).includes('A copy failed'));
    await write(example());
  });

  it('never shows a value of it, in no log line and no Event', async () => {
    const log = await operator.log();
    const events = JSON.stringify(await scene.cluster.get('/api/v1/events'));
    const messages = (await scene.cluster.events(SECRET, 'kube-system')).map(({ message }) => message);
    // A listing of Events cuts at the end of a line.
    expect(messages.filter((message) => message.includes('\n'))).toEqual([]);
    const readiness = (await operator.get('/readyz')).text;
    for (const value of [plain.secretKey, WRONG.secret, WRONG.key, WRONG.bucket, 'perhaps', 'soon']) {
      expect([value, log.includes(value)]).toEqual([value, false]);
      expect([value, events.includes(value)]).toEqual([value, false]);
      expect([value, readiness.includes(value)]).toEqual([value, false]);
    }
  });
});
