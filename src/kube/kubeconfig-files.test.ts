import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ScratchDir, scratchDir } from '../../test/support/scratch.ts';
import { readKubeconfig } from './kubeconfig-files.ts';

let dir: ScratchDir;
beforeEach(async () => {
  dir = await scratchDir();
});
afterEach(() => dir[Symbol.asyncDispose]());

/** A kubeconfig of which each part may be left out, as kubectl allows for a part of a set. */
async function file(
  name: string,
  parts: {
    current?: string;
    context?: string;
    cluster?: readonly [string, string];
    user?: readonly [string, string];
  },
): Promise<string> {
  const path = join(dir.path, name);
  const { current, context, cluster, user } = parts;
  const config = {
    ...(current === undefined ? {} : { 'current-context': current }),
    ...(context === undefined ? {} : { contexts: [{ name: context, context: { cluster: 'c', user: 'u' } }] }),
    ...(cluster === undefined ? {} : { clusters: [{ name: cluster[0], cluster: { server: cluster[1] } }] }),
    ...(user === undefined ? {} : { users: [{ name: user[0], user: { 'client-certificate': user[1] } }] }),
  };
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(config));
  return path;
}

describe('readKubeconfig', () => {
  it('makes one of several files, each with paths of its own', async () => {
    const a = await file('a', { context: 'it', cluster: ['c', 'https://a'] });
    const b = await file('sub/b', { current: 'it', user: ['u', 'client.crt'] });
    const config = readKubeconfig(`${a}:${b}`);
    expect(config.getCurrentCluster()).toMatchObject({ server: 'https://a' });
    expect(config.getCurrentUser()).toMatchObject({ certFile: join(dir.path, 'sub/client.crt') });
  });

  it('takes the first of what two files name', async () => {
    const a = await file('a', {
      current: 'first',
      context: 'first',
      cluster: ['c', 'https://a'],
      user: ['u', '/a'],
    });
    const b = await file('b', {
      current: 'second',
      context: 'second',
      cluster: ['c', 'https://b'],
      user: ['u', '/b'],
    });
    const config = readKubeconfig(`${a}:${b}`);
    expect(config.getCurrentContext()).toBe('first');
    expect(config.getContexts().map(({ name }) => name)).toEqual(['first', 'second']);
    expect(config.getCurrentCluster()).toMatchObject({ server: 'https://a' });
    expect(config.getCurrentUser()).toMatchObject({ certFile: '/a' });
  });

  it('passes over files that are not there, and empty words', async () => {
    const a = await file('a', { current: 'it', context: 'it', cluster: ['c', 'https://a'] });
    expect(readKubeconfig(`/none/such::${a}:`).getCurrentCluster()).toMatchObject({ server: 'https://a' });
  });

  it('takes a colon that belongs to the name of a file as such', async () => {
    const odd = await file('a:b', { current: 'it', context: 'it', cluster: ['c', 'https://a'] });
    expect(readKubeconfig(odd).getCurrentContext()).toBe('it');
  });

  it.each(['/none/such', '/none/such:/nor/this'])('says that there is none at %s', (paths) => {
    expect(() => readKubeconfig(paths)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
