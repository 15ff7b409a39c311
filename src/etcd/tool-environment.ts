/** Nothing of the user's environment reaches etcd: it takes every flag from ETCD_… too. */
export function bareEnvironment(): Record<string, string> {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'GOMAXPROCS', 'GOMEMLIMIT'];
  return Object.fromEntries(
    kept.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}
