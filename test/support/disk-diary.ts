import { basename } from 'node:path';
import { diskCalls } from '../../src/stores/atomic-write.ts';

/** Disk calls that do what they should, and a diary of them: a power cut cannot be had in a test, the order of calls can. */
export function diskDiary(change: Partial<typeof diskCalls> = {}) {
  const diary: string[] = [];
  const told =
    <A extends readonly unknown[], R>(what: (...args: A) => string, call: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> => {
      diary.push(what(...args));
      return call(...args);
    };
  const name = (path: unknown) => basename(String(path)).replace(/[0-9a-f]{16}\.part$/, '*.part');
  const calls: typeof diskCalls = {
    async open(...args) {
      const file = await diskCalls.open(...args);
      const sync = file.sync.bind(file);
      const writev = file.writev.bind(file);
      const writeFile = file.writeFile.bind(file);
      const note = (what: string) => diary.push(`${what} ${name(args[0])}`);
      return Object.assign(file, {
        sync: async () => {
          note('sync');
          await sync();
        },
        writev: (...chunks: Parameters<typeof writev>) => {
          note('write');
          return writev(...chunks);
        },
        writeFile: async (...data: Parameters<typeof writeFile>) => {
          note('write');
          await writeFile(...data);
        },
      });
    },
    link: told((from, to) => `link ${name(from)} ${name(to)}`, change.link ?? diskCalls.link),
    unlink: told((path) => `unlink ${name(path)}`, change.unlink ?? diskCalls.unlink),
    rename: told((from, to) => `rename ${name(from)} ${name(to)}`, change.rename ?? diskCalls.rename),
    syncFolder: told((path) => `sync ${name(path)}/`, change.syncFolder ?? diskCalls.syncFolder),
  };
  return { calls, diary };
}
