import { expect, it } from 'vitest';
import { Md5Thread, md5Of } from './md5.ts';

it('sums as MD5 does', () => {
  expect(md5Of(Buffer.from('hello')).toString('hex')).toBe('5d41402abc4b2a76b9719d911017c592');
});

it('sums in a thread, in the order of asking, and shared memory too', async () => {
  await using thread = new Md5Thread();
  const shared = Buffer.from(new SharedArrayBuffer(1_000_000));
  shared.fill('x');
  const texts = [Buffer.from('hello'), shared, Buffer.from('world')];
  const sums = await Promise.all(texts.map((text) => thread.sum(text)));
  expect(sums.map(String)).toEqual(texts.map((text) => String(md5Of(text))));
});

it('leaves nobody waiting when it is ended', async () => {
  const thread = new Md5Thread();
  const sum = expect(thread.sum(Buffer.alloc(1))).rejects.toThrow(/ended/);
  await thread[Symbol.asyncDispose]();
  await sum;
  await expect(thread.sum(Buffer.alloc(1))).rejects.toThrow(/ended/);
});
