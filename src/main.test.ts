import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('./main.ts', import.meta.url));

/** Writes the address of each module that is loaded to stderr, a line each, after `loaded `. */
const watchLoads = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  registerHooks({
    load(url, context, next) {
      process.stderr.write('loaded ' + url + '\\n');
      return next(url, context);
    },
  });
`)}`;

interface Run {
  readonly code: number | string | null | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], nodeArgs: readonly string[] = []): Promise<Run> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...nodeArgs, program, ...args],
      { env: { PATH: '/usr/bin:/bin' }, cwd: '/' },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : error.code, stdout, stderr }),
    );
  });
}

async function loadedBy(...args: string[]): Promise<string[]> {
  const { stderr } = await start(args, ['--import', watchLoads]);
  return stderr.split('\n').filter((line) => line.startsWith('loaded '));
}

describe('the program', () => {
  it.each([[[]], [['--help']], [['save', '--help']], [['--version']], [['save', '--nmae=x']]])(
    'started with %j loads neither SDK, Kubernetes client nor gRPC',
    async (args) => {
      const heavy = /node_modules\/(@aws-sdk|@smithy|@kubernetes|@grpc|etcd3|undici|pino|yaml)\//;
      const loaded = await loadedBy(...args);
      expect(loaded.some((line) => line.endsWith('src/cli/root.ts'))).toBe(true);
      expect(loaded.filter((line) => heavy.test(line))).toEqual([]);
    },
  );

  it('loads for a list what a list needs, and no SDK', async () => {
    const loaded = await loadedBy('ls', '--dir=/', '--node-name=n');
    expect(loaded.some((line) => line.includes('node_modules/pino/'))).toBe(true);
    expect(loaded.filter((line) => /@aws-sdk|@kubernetes|@grpc|etcd3/.test(line))).toEqual([]);
  });

  it('shows the help when it is started bare', async () => {
    expect(await start([])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Usage: etcd-snapshot'),
      stderr: '',
    });
  });

  it('tells its version', async () => {
    expect((await start(['--version'])).stdout).toMatch(/^etcd-snapshot \d+\.\d+\.\d+ \(Node v24\./);
  });

  it('ends with 2 and tells everything that is wrong, but no secret', async () => {
    const { code, stdout, stderr } = await start([
      'save',
      '--nmae=x',
      '--s3=perhaps',
      '--s3-secret-keyy=very-secret',
      '--s3-secret-key=very-secret',
      '--etcd-s3-secret-key=very-secret-too',
    ]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    for (const part of ['did you mean --name?', 'neither true nor false', 'did you mean --s3-secret-key?']) {
      expect(stderr).toContain(part);
    }
    expect(stderr).not.toContain('very-secret');
  });

  it.each([
    ['sav', 'did you mean save?'],
    ['frobnicate', 'write one of save, ls, delete'],
  ])('refuses the command %s with a cure', async (word, cure) => {
    const { code, stderr } = await start([word]);
    expect(code).toBe(2);
    expect(stderr).toContain(cure);
  });

  it('asks for a command when there are only flags', async () => {
    expect(await start(['--s3'])).toMatchObject({ code: 2, stderr: expect.stringContaining('no command') });
  });

  it('ends as it would have when nobody reads its messages any more', async () => {
    const child = spawn(process.execPath, [program, 'nonsense'], { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.destroy();
    expect(await once(child, 'close')).toEqual([2, null]);
  });

  it('ends with 1 when a folder that was named is missing', async () => {
    const { code, stdout, stderr } = await start(['ls', '--dir=/no/such/folder', '--node-name=n']);
    expect(code).toBe(1);
    expect(stderr).toContain('/no/such/folder');
    expect(stderr).toContain('do:');
    expect(stdout).toBe('Name Location Size Created\n');
  });
});
