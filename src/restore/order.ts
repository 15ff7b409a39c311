import type { RestoreOrder } from '../config/restore-settings.ts';

/** One thing that stands in the way, and what to do about it. */
export interface Obstacle {
  readonly what: string;
  readonly cure: string;
}

/** How a server of that distribution is called by the init system. */
export function serviceOf({ distribution }: Pick<RestoreOrder, 'distribution'>): string {
  return { k3s: 'k3s', rke2: 'rke2-server', kubeadm: 'kubelet', custom: 'etcd' }[distribution];
}
