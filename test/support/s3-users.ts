import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { toolPath } from '../tools/toolbox.ts';
import type { S3Server } from './s3-server.ts';

const run = promisify(execFile);

export interface S3User {
  readonly accessKey: string;
  readonly secretKey: string;
}

/** Users of a versitygw that was started with a folder for them: `startS3({ kind: 'versitygw', env: { VGW_IAM_DIR } })`. */
export function usersOf(s3: S3Server) {
  const admin = async (...args: string[]): Promise<void> => {
    const versitygw = await toolPath('versitygw');
    const access = ['--access', s3.accessKey, '--secret', s3.secretKey, '--endpoint-url', s3.url];
    await run(versitygw, ['admin', ...access, ...args]);
  };
  return {
    async create(accessKey: string): Promise<S3User> {
      const user = { accessKey, secretKey: `secret-of-${accessKey}` };
      await admin('create-user', '--access', user.accessKey, '--secret', user.secretKey, '--role', 'admin');
      return user;
    },
    remove: (user: S3User) => admin('delete-user', '--access', user.accessKey),
  };
}
