import type { FileHandle } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import type { ByteRange } from '../snapshot/ports.ts';

/** As text, so that the source and the bundle start the same thread, wherever their files lie. */
const THREAD = `
const { parentPort } = require('node:worker_threads');
const { createHash } = require('node:crypto');
const { readSync } = require('node:fs');
const buffer = Buffer.allocUnsafe(1024 * 1024);
const sumOf = (fd, start, end) => {
  const hash = createHash('md5');
  for (let at = start; at < end; ) {
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, end - at), at);
    if (count === 0) return { message: 'the file ends at ' + at + ': somebody has cut it' };
    hash.update(buffer.subarray(0, count));
    at += count;
  }
  return { sum: hash.digest('hex') };
};
parentPort.on('message', ({ fd, start, end }) => {
  let answer;
  try {
    answer = sumOf(fd, start, end);
  } catch ({ message, code }) {
    answer = { message, code };
  }
  parentPort.postMessage(answer);
});
`;

type Answer =
  | { readonly sum: string }
  | { readonly message: string; readonly code?: string | undefined; readonly sum?: never };

/**
 * MD5 sums of what an open file really holds, from a thread that reads it back: the main thread has only to move bytes,
 * and whatever the size, a megabyte is in memory. Dispose of it before the file is closed.
 */
export class FileSums implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #waiting: PromiseWithResolvers<string>[] = [];
  #worker: Worker | undefined;
  #ended = false;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** As 32 hex digits. One sum after the other. Rejects with Node's own error, and when it is disposed of. */
  of({ start, end }: ByteRange): Promise<string> {
    const waiting = Promise.withResolvers<string>();
    if (this.#ended) waiting.reject(new Error('the thread that reads the file has ended'));
    else {
      this.#waiting.push(waiting);
      this.#worker ??= this.#start();
      this.#worker.postMessage({ fd: this.#file.fd, start, end });
    }
    return waiting.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(new Error('the thread that reads the file was ended'));
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const resourceLimits = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 };
    const worker = new Worker(THREAD, { eval: true, execArgv: [], resourceLimits });
    worker.on('message', (answer: Answer) => {
      const waiting = this.#waiting.shift();
      if (answer.sum !== undefined) waiting?.resolve(answer.sum);
      else waiting?.reject(Object.assign(new Error(answer.message), { code: answer.code }));
    });
    worker.once('error', (error) => this.#end(error));
    return worker;
  }

  #end(reason: unknown): void {
    this.#ended = true;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(reason);
  }
}
