import { startEtcd } from './etcd-server.ts';

/** Starts an etcd, tells its process id, and waits to be ended by whoever started this. */
const etcd = await startEtcd({ tls: false });
process.stdout.write(`${etcd.members[0]?.pid}\n`);
setInterval(() => undefined, 60_000);
