import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';

interface Package {
  readonly version?: string;
  readonly resolved?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

async function json<T>(file: string): Promise<T> {
  return JSON.parse(await readFile(new URL(`../../${file}`, import.meta.url), 'utf8')) as T;
}

/** `make` installs without writing the lock file, so nothing else would notice one that is out of date. */
describe('package-lock.json', () => {
  it('locks exactly what package.json asks for, and records no download addresses', async () => {
    const { dependencies, devDependencies } = await json<Package>('package.json');
    const { packages } = await json<{ packages: Record<string, Package> }>('package-lock.json');
    expect(packages['']).toMatchObject({ dependencies, devDependencies });
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      expect(packages[`node_modules/${name}`]).toMatchObject({ version });
    }
    expect(Object.values(packages).filter((one) => one.resolved !== undefined)).toEqual([]);
  });
});
