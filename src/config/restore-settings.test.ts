import { expect, it } from 'vitest';
import { parseFlags } from './flags.ts';
import { resolveConfig } from './resolve.ts';

const around = { env: {}, hostname: 'cp1', cwd: '/srv', exists: () => false };
const kubeadm = (...argv: string[]) =>
  resolveConfig('restore', parseFlags(['restore', '--distribution=kubeadm', ...argv]), around).restore;

it('takes a relative folder of manifests from the working directory', () => {
  expect(kubeadm('--rejoin', '--manifests=stopped/')?.manifestDir).toBe('/srv/stopped');
  expect(kubeadm('--rejoin')?.manifestDir).toBe('/etc/kubernetes/manifests');
});

it.each([
  [['--rejoin', '--initial-cluster=cp1'], /--initial-cluster: "cp1" is no member/],
  [['--rejoin', '--initial-cluster=a=https://1:2380,b=x'], /"b=x" is no member/],
  [['snapshot', '--initial-cluster=a=https://1:2380'], /--rejoin of kubeadm only/],
  [
    ['--rejoin', '--distribution=custom', '--data-dir=/d', '--initial-cluster=a=https://1:2380'],
    /kubeadm only/,
  ],
  [['--cluster-reset', '--allow-running-peers'], /--allow-running-peers has a meaning with a snapshot only/],
  [['--rollback', '--print-commands'], /--print-commands has no meaning with --rollback/],
])('refuses %j', (argv, message) => {
  expect(() => kubeadm(...argv)).toThrow(message);
});
