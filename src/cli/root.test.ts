import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { run } from './root.ts';

const never = new AbortController().signal;
const terminal = { stdout: new PassThrough(), stderr: new PassThrough(), env: {} };

describe('run', () => {
  // The kernel ends an argument at a NUL, so only a caller within the process can bring one here.
  it.each(['--name', '--node-name'])('refuses a NUL in %s', async (flag) => {
    const argv = ['save', '--dir=/nonexistent', '--node-name=n', `${flag}=a\0b`];
    await expect(run(argv, terminal, never)).rejects.toMatchObject({
      code: 'usage',
      message: `${flag} "a\\u0000b": it contains a control character`,
      hint: expect.any(String),
    });
  });
});
