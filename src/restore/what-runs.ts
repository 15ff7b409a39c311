import type { RestoreOrder } from '../config/restore-settings.ts';
import { SnapshotError } from '../errors.ts';
import { type Obstacle, serviceOf } from './order.ts';
import { hasDatabase, listenersOn, listens, usersOf } from './running.ts';

/** A service that runs, comes up, goes down, or that is started again in a moment. */
export interface ActiveService {
  readonly name: string;
  /** In the words of the init system: `active`, `activating`. */
  readonly state: string;
  /** Of its main process, where it has one. */
  readonly pid: number | undefined;
}

/** Which of these services are not at rest. */
export type ActiveServices = (names: readonly string[]) => Promise<readonly ActiveService[]>;

type Wanted = Pick<RestoreOrder, 'distribution' | 'dataDir' | 'addresses' | 'manifestDir'>;

/** Programs that must end before data are moved. */
export async function whatRuns(order: Wanted, active: ActiveServices): Promise<Obstacle[]> {
  const cure = stopCommand(order);
  const users = await usersOf(order.dataDir);
  const open = users.map(({ pid, program, file }) => ({
    what: `${program} (pid ${pid}) is running and has ${file} open`,
    cure,
  }));
  if (open.length > 0) return open;
  const services: Obstacle[] = [];
  for (const { name, state, pid } of await active(servicesOf(order))) {
    // An etcd of that name may well serve other data, which are no business of ours.
    if (state === 'active' && pid !== undefined && hasDatabase(pid)) continue;
    const again = state === 'activating' ? ': systemd starts it, or will start it again in a moment' : '';
    services.push({ what: `the service ${name} is ${state}${again}`, cure });
  }
  if (services.length > 0) return services;
  const answers = await Promise.all(
    order.addresses.map(async (address) => ((await isTaken(order, address)) ? address : '')),
  );
  return answers
    .filter((address) => address !== '')
    .map((address) => ({
      what: `somebody listens on ${address}: ${serviceOf(order)}, its API server or its etcd is still running`,
      cure,
    }));
}

/** With kubeadm only the pods end with their manifests; for a load balancer on such a port nobody must wait. */
async function isTaken({ distribution }: Wanted, address: string): Promise<boolean> {
  if (!(await listens(address))) return false;
  if (distribution !== 'kubeadm') return true;
  return (await listenersOn(portOf(address))).some(isPod);
}

/** Programs that listen where the pods of kubeadm would and are none: nothing ends them, and a pod may not come up. */
export async function strangersOn({ distribution, addresses }: Wanted): Promise<string[]> {
  const notes: string[] = [];
  for (const port of distribution === 'kubeadm' ? new Set(addresses.map(portOf)) : []) {
    for (const one of await listenersOn(port)) {
      if (isPod(one)) continue;
      notes.push(
        `${one.program} (pid ${one.pid}) listens on port ${port}, and is neither etcd nor the API server; it is left alone`,
      );
    }
  }
  return notes;
}

function isPod({ program }: { readonly program: string }): boolean {
  return program === 'etcd' || program === 'kube-apiserver';
}

function portOf(address: string): number {
  return Number(URL.parse(`tcp://${address}`)?.port);
}

/** Stops a restore in front of a step that moves what a running program may use. @throws SnapshotError `conflict` */
export async function assertNothingRuns(order: Wanted, active: ActiveServices): Promise<void> {
  const [first, ...others] = await whatRuns(order, active);
  if (first === undefined) return;
  throw new SnapshotError('conflict', `${order.dataDir} must not be touched now`, {
    why: [first, ...others].map(({ what }) => what).join('; '),
    hint: `${first.cure.slice(0, 1).toUpperCase()}${first.cure.slice(1)}.`,
  });
}

/** With kubeadm kubelet goes on: it is what ends the pods. */
function servicesOf({ distribution }: Wanted): string[] {
  return { k3s: ['k3s', 'k3s-server'], rke2: ['rke2-server'], kubeadm: ['etcd'], custom: ['etcd'] }[
    distribution
  ];
}

function stopCommand(order: Wanted): string {
  const stop = `stop it: systemctl stop ${serviceOf(order)}`;
  switch (order.distribution) {
    case 'kubeadm':
      return `move etcd.yaml and kube-apiserver.yaml out of ${order.manifestDir}, and wait until etcd and the API server have ended`;
    case 'rke2':
      return `${stop}; then rke2-killall.sh, because its etcd and API server are containers that go on running`;
    case 'k3s':
      return `${stop}; what still runs after that, k3s-killall.sh ends`;
    case 'custom':
      return stop;
  }
}
