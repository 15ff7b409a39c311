import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';

/** MD5 sums are what every S3 server checks (`Content-MD5`) and most answer with (ETag): not against malice, but against damage. */
export function md5Of(bytes: Uint8Array): Buffer {
  return createHash('md5').update(bytes).digest();
}

/** As text, so that the source and the bundle start the same thread, wherever their files lie. */
const THREAD = `
const { parentPort } = require('node:worker_threads');
const { createHash } = require('node:crypto');
parentPort.on('message', (bytes) => parentPort.postMessage(createHash('md5').update(bytes).digest()));
`;

/**
 * MD5 sums from a thread of their own. A core makes about 0.8 GB/s of them, and the main thread is the one that must keep
 * up with etcd. Only buffers in shared memory go there without being copied. Dispose of it to end the thread.
 */
export class Md5Thread implements AsyncDisposable {
  readonly #waiting: PromiseWithResolvers<Buffer>[] = [];
  #worker: Worker | undefined;
  #ended = false;

  /** One sum after the other. Rejects when the thread fails or is disposed of. */
  sum(bytes: Uint8Array): Promise<Buffer> {
    const waiting = Promise.withResolvers<Buffer>();
    if (this.#ended) waiting.reject(new Error('the thread for MD5 sums has ended'));
    else {
      this.#waiting.push(waiting);
      this.#worker ??= this.#start();
      this.#worker.postMessage(bytes);
    }
    return waiting.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(new Error('the thread for MD5 sums was ended'));
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const resourceLimits = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 };
    const worker = new Worker(THREAD, { eval: true, execArgv: [], resourceLimits });
    worker.on('message', (sum: Uint8Array) => this.#waiting.shift()?.resolve(Buffer.from(sum)));
    worker.once('error', (error) => this.#end(error));
    return worker;
  }

  #end(reason: unknown): void {
    this.#ended = true;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(reason);
  }
}
