import type { Option, OptionKey } from './option.ts';

function ofK3s(name: string, key: OptionKey, rest: Pick<Option, 'type' | 'idle'> & Partial<Option>): Option {
  const help = `Taken as k3s takes it, and does nothing: ${rest.idle}`;
  return { key, flag: name, help, section: 'General', commands: ['save', 'ls', 'delete', 'prune'], ...rest };
}

/** Flags of `k3s etcd-snapshot` that are about its way through the server, which we do not take. */
export const k3sOptions: readonly Option[] = [
  ofK3s('etcd-server', 'etcdServer', {
    type: 'string',
    short: 's',
    idle: 'no server is asked, but the etcd of --etcd-servers itself',
  }),
  ofK3s('etcd-token', 'etcdToken', {
    type: 'string',
    short: 't',
    secret: true,
    idle: 'no server is asked, so none has to be convinced',
  }),
  ofK3s('log', 'logFile', { type: 'string', short: 'l', path: 'file', idle: 'messages go to stderr' }),
  ofK3s('alsologtostderr', 'alsoLogToStderr', { type: 'boolean', idle: 'messages go to stderr anyway' }),
];
