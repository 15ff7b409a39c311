import { execFile } from 'node:child_process';
import { cp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startAwsStandIn } from '../support/aws-stand-in.ts';
import { type CommandResult, etcdFlags, s3Env, s3Flags } from '../support/command.ts';
import { startControlPlane } from '../support/control-plane.ts';
import { startS3 } from '../support/s3-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { temporaryKeys } from '../support/temporary-keys.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A checkout of its own, so that a build in here disturbs nobody's dist/. */
let checkout: ScratchDir;
beforeAll(async () => {
  checkout = await scratchDir('a b#');
  await cp(join(root, 'bin'), join(checkout.path, 'bin'), { recursive: true });
  await cp(join(root, 'package.json'), join(checkout.path, 'package.json'));
  await symlink(join(root, 'node_modules'), join(checkout.path, 'node_modules'));
});
afterAll(() => checkout[Symbol.asyncDispose]());

function run(
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const options = { cwd: '/', env: { PATH: '/usr/bin:/bin', ...env } };
    execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

describe('bin/etcd-snapshot', () => {
  it('says what to do before it is built', async () => {
    const { code, stderr } = await run(join(checkout.path, 'bin/etcd-snapshot'), []);
    expect(code).toBe(1);
    expect(stderr).toContain("run 'make build'");
  });

  describe('built', () => {
    beforeAll(async () => {
      const build = [join(root, 'scripts/build.ts'), join(checkout.path, 'dist')];
      expect(await run(process.execPath, build)).toMatchObject({ code: 0 });
    });

    it('runs the pinned Node from any folder, through links, as a plugin of kubectl would', async () => {
      const link = join(checkout.path, 'kubectl-etcd_snapshot');
      await symlink('bin/etcd-snapshot', link);
      const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
      expect(await run(link, ['--version'])).toMatchObject({
        code: 0,
        stdout: `etcd-snapshot ${manifest.version} (Node v${manifest.devDependencies.node})\n`,
        stderr: '',
      });
    });

    it('holds what finds keys: web identity, pod identity and instance', async () => {
      await using dir = await scratchDir();
      await using s3 = await startS3({ kind: 'minio' });
      await s3.createBucket('bundle');
      await using aws = await startAwsStandIn('of-this-pod');
      aws.give(await temporaryKeys(s3), 3_600_000);
      const token = join(dir.path, '.token');
      await writeFile(token, 'token-1');
      const args = ['ls', '--distribution=custom', `--dir=${dir.path}`, ...s3Flags(s3.settings('bundle'))];
      const nothing = { HOME: dir.path, AWS_CONFIG_FILE: '/none', AWS_EC2_METADATA_DISABLED: 'true' };
      for (const env of [
        {
          AWS_ENDPOINT_URL_STS: aws.url,
          AWS_ROLE_ARN: 'arn:aws:iam::1:role/snapshots',
          AWS_WEB_IDENTITY_TOKEN_FILE: token,
        },
        {
          AWS_CONTAINER_CREDENTIALS_FULL_URI: `${aws.url}/v1/credentials`,
          AWS_CONTAINER_AUTHORIZATION_TOKEN: 'of-this-pod',
        },
        { AWS_EC2_METADATA_DISABLED: '', AWS_EC2_METADATA_SERVICE_ENDPOINT: aws.url },
      ]) {
        const program = join(checkout.path, 'bin/etcd-snapshot');
        expect(await run(program, args, { ...nothing, ...env })).toMatchObject({ code: 0, stderr: '' });
      }
      expect(aws.asked.map((line) => line.split(' ')[0])).toEqual(['sts', 'container', 'instance']);
    });

    it('holds everything a save needs: etcd, zip, S3 and Kubernetes', async () => {
      await using dir = await scratchDir();
      await using plane = await startControlPlane();
      await using s3 = await startS3({ kind: 'versitygw' });
      await s3.createBucket('bundle');
      const settings = s3.settings('bundle', 'f');
      const store = ['--distribution=custom', '--node-name=n', `--dir=${dir.path}`, ...s3Flags(settings)];
      const save = [
        'save',
        '--snapshot-compress',
        `--kubeconfig=${plane.kubeconfig}`,
        ...etcdFlags(plane.etcd.settings()),
      ];
      const program = join(checkout.path, 'bin/etcd-snapshot');
      const saved = await run(program, [...save, ...store], s3Env(settings));
      expect(saved, saved.stderr).toMatchObject({ code: 0, stdout: '' });
      expect(saved.stderr).not.toContain('WARN');
      const [name = ''] = (await readdir(dir.path)).filter((file) => file.endsWith('.zip'));
      const listed = await run(program, ['ls', ...store], s3Env(settings));
      expect(listed.stdout.split('\n').filter((line) => line.startsWith(name))).toHaveLength(2);
      const { stdout } = await plane.kubectl(['get', 'etcdsnapshotfile', '-o', 'name']);
      expect(stdout.trim().split('\n')).toHaveLength(2);
    });
  });
});
