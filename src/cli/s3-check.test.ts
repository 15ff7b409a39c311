import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { startMarkingS3 } from '../../test/support/marking-s3.ts';
import { parseFlags } from '../config/flags.ts';
import { resolveConfig } from '../config/resolve.ts';
import { s3Check } from './s3-check.ts';

/** Checks a store that keeps versions, where the key may not remove them and nothing else works. */
async function check(...args: string[]) {
  await using s3 = await startMarkingS3(() => 403);
  const env = { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret' };
  const flags = parseFlags([
    's3',
    'check',
    `--s3-endpoint=${s3.endpoint}`,
    '--s3-bucket=b',
    '--s3-insecure',
    ...args,
  ]);
  const config = resolveConfig('s3', flags, { env, hostname: 'node-1', cwd: '/', exists: () => false });
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const code = await s3Check(config, { stdout, stderr, env }, new AbortController().signal);
  stdout.end();
  stderr.end();
  return { code, out: await text(stdout), err: await text(stderr) };
}

it('says with --quiet only what is worth a word', async () => {
  const { code, out } = await check('--quiet');
  expect(code).toBe(1);
  expect(out).not.toMatch(/^(pass|skip)/m);
  expect(out).toMatch(/^FAIL/m);
  expect(out).toMatch(/^left behind: a delete marker of /m);
});

it('says everything else as a JSON object per line with --progress=json', async () => {
  const { err } = await check('--progress=json', '--debug');
  const lines = err.trim().split('\n');
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ msg: expect.any(String) });
});
