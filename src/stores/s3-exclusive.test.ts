import { describe, expect, it } from 'vitest';
import { startFaultFront } from '../../test/support/fault-front.ts';
import { MIB, someBytes } from '../../test/support/growing-bytes.ts';
import { type Lies, type ScriptedS3, startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { bytesOf, uploadOf } from '../../test/support/store-contract.ts';
import type { SnapshotFacts } from '../snapshot/snapshot.ts';
import { createS3Store } from './s3-store.ts';

const NAME = 'on-demand-node-1-1730308816';
const never = new AbortController().signal;
const options = {
  program: 'k3s',
  nodeName: 'node-1',
  partSize: MIB,
  firstRetryMs: 1,
  maxAttempts: 3,
} as const;
const small = { what: 'in one request', size: 1000 };
const large = { what: 'in parts', size: 2 * MIB + 32 };
const OTHER = { 'k3s-cluster-id': 'their-cluster', 'k3s-node-name': 'node-1' };
const encrypted = {
  'x-amz-server-side-encryption': 'aws:kms',
  etag: '"5d41402abc4b2a76b9719d911017c592-3"',
};
const facts: SnapshotFacts = { clusterId: 'our-cluster' };

const upload = (content: Buffer, of: SnapshotFacts = facts) =>
  uploadOf(NAME, bytesOf(content), { facts: Promise.resolve(of) });

/** Through a front that a test can make lose things. */
async function scene(lies: Lies = {}) {
  const s3 = await startScriptedS3(lies);
  const front = await startFaultFront(`http://${s3.settings.endpoint}`);
  const store = createS3Store({ ...s3.settings, endpoint: front.endpoint }, options);
  return {
    s3,
    front,
    store,
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
      await front[Symbol.asyncDispose]();
      await s3[Symbol.asyncDispose]();
    },
  };
}

function isUntouched(s3: ScriptedS3, theirs: Buffer): boolean {
  return s3.objects.get(NAME)?.equals(theirs) === true && !s3.diary.includes('delete');
}

describe.each([small, large])('an object of the same name ($what)', ({ size }) => {
  const content = someBytes(size);
  const isMade = ({ method, path }: { method: string; path: string }) =>
    size === small.size ? method === 'PUT' : method === 'POST' && path.includes('uploadId=');

  it.each<Lies>([{}, { guard: 'refuses' }])(
    'of another cluster stays, and the error names whose it is (server %j)',
    async (lies) => {
      await using it = await scene(lies);
      const theirs = someBytes(544);
      it.s3.place(NAME, theirs, OTHER);
      await expect(it.store.put(upload(content), never)).rejects.toMatchObject({
        code: 'exists',
        message: `Cannot upload s3://bucket/${NAME}`,
        why: expect.stringMatching(/of cluster their-cluster, node node-1, with 544 bytes.*left as it is/),
        hint: expect.stringContaining('--s3-folder'),
      });
      expect(isUntouched(it.s3, theirs)).toBe(true);
      if (size === large.size) expect(it.s3.diary).toContain('abort');
    },
  );

  it('of another cluster stays when it comes while the upload is on its way', async () => {
    const theirs = someBytes(size);
    let place = () => {};
    await using it = await scene({ beforeObject: () => place() });
    place = () => it.s3.place(NAME, theirs, OTHER);
    await expect(it.store.put(upload(content), never)).rejects.toMatchObject({ code: 'exists' });
    expect(isUntouched(it.s3, theirs)).toBe(true);
  });

  it('that cannot be looked at stays, and the error says both', async () => {
    await using it = await scene();
    const theirs = someBytes(544);
    it.s3.place(NAME, theirs);
    it.front.setRule(({ method }) => (method === 'HEAD' ? { status: 403 } : undefined));
    await expect(it.store.put(upload(content), never)).rejects.toMatchObject({
      code: 'exists',
      why: expect.stringContaining('whose it is cannot be seen'),
      besides: [expect.objectContaining({ code: 'forbidden' })],
    });
    expect(isUntouched(it.s3, theirs)).toBe(true);
  });

  it('that another cluster puts in the place of ours is not removed', async () => {
    await using it = await scene({ guard: 'ignores' });
    const theirs = someBytes(size);
    it.front.setRule(({ method }) => {
      if (method === 'HEAD') it.s3.place(NAME, theirs, OTHER);
      return undefined;
    });
    await expect(it.store.put(upload(content), never)).rejects.toMatchObject({
      code: 'conflict',
      why: expect.stringMatching(/replaced.*cluster their-cluster, node node-1.*left as it is/),
    });
    expect(isUntouched(it.s3, theirs)).toBe(true);
  });

  it('with the same bytes, of the same node, is the snapshot: a save that is made again converges', async () => {
    await using it = await scene();
    await it.store.put(upload(content), never);
    const again = await it.store.put(upload(content), never);
    expect(again).toMatchObject({ snapshot: { size }, warnings: [] });
    await expect(it.store.put(upload(someBytes(size)), never)).rejects.toMatchObject({
      code: 'exists',
      hint: expect.stringContaining('Save again'),
    });
    expect(isUntouched(it.s3, content)).toBe(true);
  });

  it.each<Lies>([{}, { guard: 'ignores' }, { guard: 'refuses' }, { headers: encrypted }])(
    'is ours when the answer to an earlier try got lost (server %j)',
    async (lies) => {
      await using it = await scene(lies);
      let lost = 0;
      it.front.setRule((request) => {
        if (!isMade(request) || lost > 0 || request.headers['if-none-match'] !== guardOf(lies))
          return undefined;
        lost += 1;
        return { cutAfterResponseBytes: 0 };
      });
      const { snapshot, warnings } = await it.store.put(upload(content), never);
      expect([lost, snapshot.size, warnings]).toEqual([1, size, []]);
      expect(isUntouched(it.s3, content)).toBe(true);
    },
  );

  it('that is made at the same moment is met by the next try', async () => {
    await using it = await scene();
    let said = 0;
    let times = 1;
    const body = '<Error><Code>ConditionalRequestConflict</Code></Error>';
    it.front.setRule((request) => {
      if (!isMade(request) || said >= times) return undefined;
      said += 1;
      return { status: 409, body };
    });
    await it.store.put(upload(content), never);
    expect([said, isUntouched(it.s3, content)]).toEqual([1, true]);
    // And where no try comes through, it is looked for.
    times = Number.POSITIVE_INFINITY;
    await it.store.put(upload(content), never);
    await expect(it.store.put(upload(someBytes(size)), never)).rejects.toMatchObject({ code: 'exists' });
    expect(isUntouched(it.s3, content)).toBe(true);
    await it.store.remove(NAME, never);
    await expect(it.store.put(upload(content), never)).rejects.toMatchObject({
      code: 'conflict',
      why: expect.stringContaining('at the same moment'),
    });
  });

  it('that was in the way and is gone again is in the way no more', async () => {
    await using it = await scene();
    it.s3.place(NAME, someBytes(544), OTHER);
    let isGone = false;
    it.front.setRule((request) => {
      if (isMade(request) && !isGone) return { status: 412 };
      if (request.method === 'HEAD' && !isGone) {
        isGone = true;
        return { status: 404 };
      }
      return undefined;
    });
    // By now it is there again: the header still guards it.
    await expect(it.store.put(upload(content), never)).rejects.toMatchObject({ code: 'exists' });
    expect(isUntouched(it.s3, it.s3.objects.get(NAME) ?? content)).toBe(true);
    expect(it.s3.objects.get(NAME)).toHaveLength(544);
  });

  it('that is said to be in the way of each request, and is never there, is told as that', async () => {
    await using it = await scene();
    it.front.setRule((request) => (isMade(request) ? { status: 412 } : undefined));
    await expect(it.store.put(upload(content), never)).rejects.toMatchObject({
      code: 'conflict',
      why: expect.stringContaining('gone again'),
    });
  });

  const answers = [
    [404, 'NoSuchKey'],
    [400, 'InvalidArgument'],
    [400, 'InvalidRequest'],
    [405, 'MethodNotAllowed'],
    [501, 'NotSupported'],
    [412, 'PreconditionFailed'],
    [304, ''],
  ] as const;
  it.each(answers)(
    'of another cluster stays where the header is answered with %i %s, and where there is none, the upload succeeds',
    async (status, code) => {
      await using it = await scene();
      const body = status === 304 ? '' : `<Error><Code>${code}</Code></Error>`;
      it.front.setRule((request) =>
        isMade(request) && request.headers['if-none-match'] !== undefined ? { status, body } : undefined,
      );
      expect(await it.store.put(upload(content), never)).toMatchObject({ warnings: [] });
      expect(isUntouched(it.s3, content)).toBe(true);
      const theirs = someBytes(544);
      it.s3.place(NAME, theirs, OTHER);
      await expect(it.store.put(upload(content), never)).rejects.toMatchObject({ code: 'exists' });
      expect(isUntouched(it.s3, theirs)).toBe(true);
    },
  );

  it('is guarded by the header again after a request that failed without it too', async () => {
    await using it = await scene();
    let refuses = true;
    const body = '<Error><Code>InvalidRequest</Code></Error>';
    it.front.setRule((request) => (isMade(request) && refuses ? { status: 400, body } : undefined));
    await expect(it.store.put(upload(content), never)).rejects.toThrow();
    refuses = false;
    const before = it.front.requests.length;
    await it.store.put(upload(content), never);
    const [made] = it.front.requests.slice(before).filter(isMade);
    expect(made?.headers['if-none-match']).toBe('*');
  });

  it('is looked for once at most, and a server that refuses the header is not asked for it again', async () => {
    await using it = await scene({ guard: 'refuses' });
    await it.store.put(upload(content), never);
    await it.store.remove(NAME, never);
    const before = it.front.requests.length;
    await it.store.put(upload(content), never);
    const later = it.front.requests.slice(before);
    expect(later.filter(({ headers }) => headers['if-none-match'] !== undefined)).toEqual([]);
    expect(later.filter(({ method }) => method === 'HEAD')).toHaveLength(2);
  });

  it('costs no request where the server knows the header', async () => {
    await using it = await scene();
    await it.store.put(upload(content), never);
    expect(it.front.requests.filter(({ method }) => method === 'HEAD')).toHaveLength(1);
    expect(it.front.requests.filter(isMade).map(({ headers }) => headers['if-none-match'])).toEqual(['*']);
  });
});

function guardOf(lies: Lies): string | undefined {
  return lies.guard === 'refuses' ? undefined : '*';
}

describe('an answer to the end of an upload that says nothing', () => {
  it.each([
    ['nothing at all', ''],
    ['XML that breaks off', '<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUploadResult><ETag>"a'],
    ['an error', '<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code></Error>'],
    ['a page', '<html><br><p>Please log in</html>'],
  ])('(%s, with a good status) is asked again, and the object is found', async (_what, body) => {
    const content = someBytes(large.size);
    await using made = await scene({ saysOfObject: [body] });
    expect(await made.store.put(upload(content), never)).toMatchObject({ warnings: [] });
    expect(isUntouched(made.s3, content)).toBe(true);
    // The same where nothing has come of it.
    await using it = await scene();
    let said = 0;
    it.front.setRule(({ method, path }) => {
      if (method !== 'POST' || !path.includes('uploadId=') || said > 0) return undefined;
      said += 1;
      return { status: 200, body };
    });
    expect(await it.store.put(upload(content), never)).toMatchObject({ warnings: [] });
    expect([said, isUntouched(it.s3, content)]).toEqual([1, true]);
  });

  it('an upload that somebody has dropped is told as that', async () => {
    await using it = await scene();
    const body = '<Error><Code>NoSuchUpload</Code></Error>';
    it.front.setRule(({ method, path }) =>
      method === 'POST' && path.includes('uploadId=') ? { status: 404, body } : undefined,
    );
    await expect(it.store.put(upload(someBytes(large.size)), never)).rejects.toMatchObject({
      code: 'conflict',
      why: expect.stringContaining('somebody has dropped it'),
      hint: expect.stringContaining('lifecycle'),
    });
    expect(it.s3.diary).not.toContain('delete');
  });

  it('a part that nobody says to have taken is sent again', async () => {
    await using it = await scene();
    const content = someBytes(large.size);
    let said = 0;
    it.front.setRule(({ path }) => {
      if (!path.includes('partNumber=2') || said > 0) return undefined;
      said += 1;
      return { status: 200, body: '' };
    });
    await it.store.put(upload(content), never);
    expect([said, it.s3.objects.get(NAME)?.equals(content)]).toEqual([1, true]);
  });
});
