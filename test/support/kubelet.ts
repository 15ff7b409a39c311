import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { systemCode } from '../../src/errors.ts';
import { type Server, sleep, startServer } from './processes.ts';

/**
 * Stands in for kubelet: runs the etcd of `etcd.yaml` as long as that is in the folder, with the flags that are in it, and ends
 * it in order when it is gone.
 * @param program what is run in place of the image
 */
export function startKubelet(folder: string, program: string, logFile: string): AsyncDisposable {
  let over = false;
  const manifest = async () =>
    over
      ? undefined
      : readFile(join(folder, 'etcd.yaml'), 'utf8').catch((error: unknown) => {
          if (systemCode(error) !== 'ENOENT') throw error;
          return undefined;
        });
  const run = async () => {
    let now: { readonly text: string; readonly server: Server } | undefined;
    while (!over || now !== undefined) {
      const text = await manifest();
      if (text !== now?.text) {
        now?.server.kill('SIGTERM');
        await now?.server.exited;
        now = text === undefined ? undefined : { text, server: await start(text) };
      }
      await sleep(20);
    }
  };
  const start = (text: string) => {
    const [, ...args] = parse(text).spec.containers[0].command;
    return startServer({ name: 'etcd', command: program, args, logFile, ready: async () => true });
  };
  const running = run();
  return {
    async [Symbol.asyncDispose]() {
      over = true;
      await running;
    },
  };
}
