import { existsSync } from 'node:fs';
import { delimiter } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';

/**
 * Reads a kubeconfig, or several with `:` between them, which kubectl makes one of: of entries with the same name, and
 * of current contexts, the first counts; files that are not there are passed over, unless all of them are.
 * @throws what the file system says, or an error without a code for a file that is no kubeconfig
 */
export function readKubeconfig(paths: string): KubeConfig {
  if (existsSync(paths)) return readOne(paths);
  const named = paths.split(delimiter).filter((path) => path !== '');
  const there = named.filter((path) => existsSync(path));
  const [first = paths, ...others] = there.length === 0 ? named : there;
  const merged = readOne(first);
  for (const path of others) {
    const other = readOne(path);
    merged.contexts.push(...missing(merged.contexts, other.contexts));
    merged.clusters.push(...missing(merged.clusters, other.clusters));
    merged.users.push(...missing(merged.users, other.users));
    if (!merged.currentContext) merged.setCurrentContext(other.currentContext);
  }
  return merged;
}

function readOne(path: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(path);
  return config;
}

function missing<T extends { readonly name: string }>(have: readonly T[], offered: readonly T[]): T[] {
  return offered.filter(({ name }) => !have.some((one) => one.name === name));
}
