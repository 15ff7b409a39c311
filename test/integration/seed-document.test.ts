import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { tokenHash } from '../../src/config/token.ts';
import { usersOf } from '../../src/restore/running.ts';
import type { CommandResult } from '../support/command.ts';
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { k3sBootstrap } from '../support/k3s-bootstrap.ts';
import { sleep } from '../support/processes.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { makeSeedNode, savedNames } from '../support/seed-node.ts';
import { snapshotBytes } from '../support/store-contract.ts';
import { toolPath } from '../tools/toolbox.ts';

/*
 * The page of K3s's documentation about etcd-snapshot: each command as it stands there, with `k3s` replaced by our executable, on
 * a node that looks like a server of K3s, with S3 under the names of Amazon. Restoring comes last, because it stops etcd.
 */

const NODE = 'k3s-server-1';

let home: ScratchDir;
let etcd: EtcdCluster;
let amazon: S3Server;
let proxy: ConnectProxy;
beforeAll(async () => {
  [home, etcd, amazon] = await Promise.all([
    scratchDir('seed-'),
    startEtcd(),
    startS3({ kind: 'versitygw', tls: true, domain: 's3.us-east-1.amazonaws.com' }),
  ]);
  proxy = await startConnectProxy({ hosts: { '*': amazon.endpoint } });
  await amazon.createBucket('etcd');
  await makeSeedNode(home.path, NODE, etcd.settings());
});
afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await amazon?.[Symbol.asyncDispose]();
  await etcd?.[Symbol.asyncDispose]();
  await home?.[Symbol.asyncDispose]();
});

/** Runs a command of the document in a shell, with what stands there in brackets filled in. */
function sh(text: string, values: Readonly<Record<string, string>> = {}): Promise<CommandResult> {
  const filled = Object.entries({
    '<S3-BUCKET-NAME>': 'etcd',
    '<S3-ACCESS-KEY>': amazon.accessKey,
    '<S3-SECRET-KEY>': amazon.secretKey,
    ...values,
  }).reduce((script, [name, value]) => script.replaceAll(name, value), text);
  const env = {
    PATH: `${home.path}:/usr/bin:/bin`,
    K3S_CONFIG_FILE: join(home.path, 'config.yaml'),
    KUBECONFIG: inject('kubeconfig'),
    HTTPS_PROXY: proxy.url,
    NO_PROXY: '127.0.0.1',
    NODE_EXTRA_CA_CERTS: amazon.caFile ?? '',
  };
  return new Promise((resolve) => {
    execFile('sh', ['-c', filled], { env, cwd: '/' }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

/** The same, with `k3s` replaced: it must be done, and no secret may show. */
async function k3s(text: string, values: Readonly<Record<string, string>> = {}): Promise<CommandResult> {
  const result = await sh(text.replaceAll(/\bk3s(?= )/g, 'etcd-snapshot'), values);
  expect(result.code, result.stderr).toBe(0);
  expect(result.stderr).not.toMatch(/^(WARN|ERRO)/m);
  expect(result.stdout + result.stderr).not.toContain(amazon.secretKey);
  return result;
}

const folder = () => join(home.path, 'k3s/server/db/snapshots');
const files = async () => (await readdir(folder())).filter((file) => !file.startsWith('.')).toSorted();
const kubectl = async (args: string): Promise<string> => {
  const { code, stdout, stderr } = await sh(`${await toolPath('kubectl')} ${args}`);
  expect(code, stderr).toBe(0);
  return stdout;
};
/** Snapshots that are there already, older than any that is made here. */
const older = (count: number, base = 'on-demand') =>
  Array.from({ length: count }, (_, at) => `${base}-${NODE}-${1_700_000_000 + at}`);
async function fill(names: readonly string[]): Promise<void> {
  await rm(folder(), { recursive: true, force: true });
  await mkdir(folder(), { mode: 0o700 });
  for (const name of names) await writeFile(join(folder(), name), snapshotBytes(2), { mode: 0o600 });
}

describe('Creating snapshots', () => {
  it('are saved to server/db/snapshots of the data folder, on demand, and called on-demand, the node and the time', async () => {
    await rm(folder(), { recursive: true, force: true });
    const result = await k3s('k3s etcd-snapshot save');
    expect(await files()).toEqual(savedNames(result));
    expect(savedNames(result)[0]).toMatch(/^on-demand-k3s-server-1-\d{10}$/);
  });

  it('the base name can be changed with --name', async () => {
    const [name] = savedNames(await k3s('k3s etcd-snapshot save --name pre-upgrade'));
    expect(name).toMatch(/^pre-upgrade-k3s-server-1-\d{10}$/);
  });

  it.each([
    ['disable-snapshots', ''],
    ['snapshot-compress', ''],
    ['snapshot-dir', '=FOLDER'],
    ['snapshot-retention', '=5'],
    ['snapshot-schedule-cron', "='0 */5 * * *'"],
  ])('--etcd-%s is valid for etcd-snapshot, with and without --etcd-', async (flag, value) => {
    const short = flag === 'snapshot-dir' ? 'dir' : flag;
    const other = join(home.path, 'other');
    await mkdir(other, { recursive: true });
    for (const spelled of [`etcd-${flag}`, short]) {
      const [name = ''] = savedNames(
        await k3s(`k3s etcd-snapshot save --name=${spelled} --${spelled}${value}`, { FOLDER: other }),
      );
      const where = flag === 'snapshot-dir' ? await readdir(other) : await files();
      expect(where).toContain(name);
      expect(name.endsWith('.zip')).toBe(flag === 'snapshot-compress');
    }
  });

  it('flags can be passed with the configuration file instead', async () => {
    const extra = join(home.path, 'config.yaml.d');
    await mkdir(extra, { recursive: true });
    await writeFile(join(extra, 'snapshots.yaml'), 'etcd-snapshot-compress: true\n');
    const [name] = savedNames(await k3s('k3s etcd-snapshot save --name=of-file'));
    await rm(extra, { recursive: true });
    expect(name).toMatch(/\.zip$/);
  });
});

describe('S3 compatible object store', () => {
  it('takes an on-demand snapshot and saves it to S3', async () => {
    const names = savedNames(
      await k3s(`
        k3s etcd-snapshot save \\
          --s3 \\
          --s3-bucket=<S3-BUCKET-NAME> \\
          --s3-access-key=<S3-ACCESS-KEY> \\
          --s3-secret-key=<S3-SECRET-KEY>`),
    );
    expect(new Set(names).size).toBe(1);
    expect(names).toHaveLength(2);
    expect(new Set(proxy.targets)).toEqual(new Set(['etcd.s3.us-east-1.amazonaws.com:443']));
  });

  it.each(['s3', 'etcd-s3'])('takes all its settings as --%s-…', async (prefix) => {
    const { stdout } = await k3s(
      `k3s etcd-snapshot ls --${prefix} --PRE-endpoint=s3.us-east-1.amazonaws.com --PRE-endpoint-ca=CA --PRE-skip-ssl-verify=false \\
         --PRE-access-key=<S3-ACCESS-KEY> --PRE-secret-key=<S3-SECRET-KEY> --PRE-bucket=<S3-BUCKET-NAME> --PRE-region=us-east-1 \\
         --PRE-folder=none --PRE-proxy=PROXY --PRE-insecure=false --PRE-timeout=5m0s --dir=FOLDER`,
      { PRE: prefix, CA: amazon.caFile ?? '', PROXY: proxy.url, FOLDER: join(home.path, 'other') },
    );
    expect(stdout).toContain('Name');
  });

  it('reads a Secret of the example when it is given --etcd-s3 and --etcd-s3-config-secret alone', async () => {
    const example = fileURLToPath(new URL('../support/seed-s3-secret.yaml', import.meta.url));
    await kubectl(
      `create -f ${example} --dry-run=client -o json | sed -e s/AWS_ACCESS_KEY_ID/<S3-ACCESS-KEY>/ -e s/AWS_SECRET_ACCESS_KEY/<S3-SECRET-KEY>/ \\
         -e 's/"etcd-s3-bucket": "bucket"/"etcd-s3-bucket": "etcd"/' | ${await toolPath('kubectl')} create -f -`,
    );
    const flags = '--etcd-s3 --etcd-s3-config-secret=k3s-etcd-snapshot-s3-config';
    const [name = '', again] = savedNames(await k3s(`k3s etcd-snapshot save --name=by-secret ${flags}`));
    expect(again).toBe(name);
    expect((await k3s(`k3s etcd-snapshot list ${flags}`)).stdout).toContain(`s3://etcd/folder/${name}`);
    await k3s(`k3s etcd-snapshot prune --name=by-secret ${flags}`);
    await k3s(`k3s etcd-snapshot delete ${flags} ${name}`);
    expect((await k3s(`k3s etcd-snapshot list ${flags}`)).stdout).not.toContain(name);
  });
});

describe('Managing snapshots', () => {
  it('has the subcommands of the table, and tells more with --help', async () => {
    const { stdout } = await k3s('k3s etcd-snapshot --help');
    for (const word of ['delete', 'ls', 'prune', 'save'])
      expect(stdout).toMatch(new RegExp(`^ {2}${word} `, 'm'));
    for (const word of ['delete', 'ls', 'list', 'l', 'prune', 'save']) {
      expect((await k3s(`k3s etcd-snapshot ${word} --help`)).stdout).toContain('Usage: etcd-snapshot');
    }
  });

  it.each(['ls', 'list', 'l'])('lists with %s what is stored on disk and on S3', async (word) => {
    const s3 =
      '--s3 --s3-bucket=<S3-BUCKET-NAME> --s3-access-key=<S3-ACCESS-KEY> --s3-secret-key=<S3-SECRET-KEY>';
    const [name = ''] = savedNames(await k3s(`k3s etcd-snapshot save --name=${word} ${s3}`));
    await fill(older(1));
    const { stdout } = await k3s(`k3s etcd-snapshot ${word} ${s3}`);
    expect(stdout.split('\n')[0]?.split(/ +/)).toEqual(['Name', 'Location', 'Size', 'Created']);
    expect(stdout).toMatch(
      new RegExp(
        `^on-demand-k3s-server-1-1700000000 +file://${folder()}/on-demand-\\S+ +1056 +2023-11-1\\S+ +only on disk$`,
        'm',
      ),
    );
    expect(stdout).toMatch(new RegExp(`^${name} +s3://etcd/${name} +\\d+ +20\\S+ +only on S3$`, 'm'));
    expect(JSON.parse((await k3s(`k3s etcd-snapshot ${word} -o json`)).stdout)).toMatchObject({
      apiVersion: 'v1',
      kind: 'List',
      items: [{ kind: 'ETCDSnapshotFile', spec: { snapshotName: 'on-demand-k3s-server-1-1700000000' } }],
    });
  });

  it('deletes a snapshot from S3', async () => {
    const s3 =
      '--s3 --s3-bucket=<S3-BUCKET-NAME> --s3-access-key=<S3-ACCESS-KEY> --s3-secret-key=<S3-SECRET-KEY>';
    const [name = ''] = savedNames(await k3s(`k3s etcd-snapshot save --name=to-delete ${s3}`));
    await k3s(
      `
        k3s etcd-snapshot delete          \\
          --s3                            \\
          --s3-bucket=<S3-BUCKET-NAME>    \\
          --s3-access-key=<S3-ACCESS-KEY> \\
          --s3-secret-key=<S3-SECRET-KEY> \\
          <SNAPSHOT-NAME>`,
      { '<SNAPSHOT-NAME>': name },
    );
    expect((await k3s(`k3s etcd-snapshot ls ${s3}`)).stdout).not.toContain(name);
    expect(await kubectl('get etcdsnapshotfile')).not.toContain(name);
  });

  it('prunes local snapshots with the default retention policy, which is 5', async () => {
    await fill([...older(8), ...older(7, 'etcd-snapshot')]);
    await k3s('k3s etcd-snapshot prune');
    expect(await files()).toEqual([...older(7, 'etcd-snapshot'), ...older(8).slice(3)]);
  });

  it('and with --snapshot-retention another one', async () => {
    await fill(older(12));
    await k3s('k3s etcd-snapshot prune --snapshot-retention 10');
    expect(await files()).toEqual(older(12).slice(2));
  });
});

describe('ETCDSnapshotFile custom resources', () => {
  it('show every snapshot to kubectl get and describe', async () => {
    const [name = ''] = savedNames(
      await k3s(
        'k3s etcd-snapshot save --s3 --s3-bucket=<S3-BUCKET-NAME> --s3-folder=k3s-test --s3-access-key=<S3-ACCESS-KEY> --s3-secret-key=<S3-SECRET-KEY>',
      ),
    );
    const [header = '', ...rows] = (await kubectl('get etcdsnapshotfile')).trim().split('\n');
    expect(header.split(/ +/)).toEqual(['NAME', 'SNAPSHOTNAME', 'NODE', 'LOCATION', 'SIZE', 'CREATIONTIME']);
    const ours = rows.map((row) => row.split(/ +/)).filter(([, snapshotName]) => snapshotName === name);
    expect(
      ours.map(([record, , node, location]) => [record?.replace(/[0-9a-f]{6}$/, ''), node, location]),
    ).toEqual([
      [`local-${name}-`, NODE, `file://${folder()}/${name}`],
      [`s3-${name}-`, 's3', `s3://etcd/k3s-test/${name}`],
    ]);
    const described = await kubectl(`describe etcdsnapshotfile ${ours[1]?.[0]}`);
    for (const line of [
      'etcd.k3s.cattle.io/snapshot-storage-node=s3',
      `etcd.k3s.cattle.io/snapshot-token-hash: ${tokenHash('secret')}`,
      `Location:   s3://etcd/k3s-test/${name}`,
      'Node Name:  s3',
      'Prefix:       k3s-test',
      'Ready To Use:   true',
      `Snapshot ${name} saved on S3`,
    ]) {
      expect(described).toContain(line);
    }
  });

  it('and with ls --all-nodes the same, from the records of all members, without a look at disk or S3', async () => {
    const asked = proxy.targets.length;
    const { stdout } = await k3s('k3s etcd-snapshot ls --all-nodes --name=x');
    const rows = stdout
      .trim()
      .split('\n')
      .map((row) => row.split(/ +/));
    expect(rows[0]).toEqual(['Name', 'Node', 'Location', 'Size', 'Created']);
    const records = (await kubectl('get etcdsnapshotfile --no-headers'))
      .trim()
      .split('\n')
      .map((row) => row.split(/ +/));
    // Others work in the same cluster at the same time.
    const mine = (row: readonly string[]) => row.some((cell) => cell.includes(home.path));
    const shown = rows.filter(mine).map(([name = '']) => name);
    const recorded = records.filter(mine).map(([, name = '']) => name);
    expect(shown.toSorted()).toEqual(recorded.toSorted());
    expect(proxy.targets).toHaveLength(asked);
    const list = JSON.parse((await k3s('k3s etcd-snapshot ls --all-nodes -o json')).stdout);
    expect(list.items.map((item: { metadata: { name: string } }) => item.metadata.name)).toEqual(
      expect.arrayContaining(records.filter(mine).map(([record]) => record)),
    );
  });

  it('say what to do when no cluster can be asked', async () => {
    const { code, stderr } = await sh('env -u KUBECONFIG etcd-snapshot ls --all-nodes');
    expect(code).toBe(2);
    expect(stderr).toContain('--kubeconfig');
  });
});

describe('Restoring snapshots', () => {
  const reset = 'Managed etcd cluster membership has been reset, restart without --cluster-reset flag now.';
  const server = (path: string) => join(home.path, 'k3s/server', path);
  let plain: string;
  let zip: string;
  beforeAll(async () => {
    const ServerCA = Buffer.from('CA of then').toString('base64');
    await etcd.put([k3sBootstrap({ ServerCA }, 'secret'), ['early', 'here']]);
    await rm(folder(), { recursive: true, force: true });
    const s3 = '--s3 --s3-bucket=etcd --s3-access-key=<S3-ACCESS-KEY> --s3-secret-key=<S3-SECRET-KEY>';
    [plain = ''] = savedNames(await k3s(`k3s etcd-snapshot save --name=to-restore ${s3}`));
    [zip = ''] = savedNames(await k3s('k3s etcd-snapshot save --name=packed --snapshot-compress'));
    // That the first was agreed upon is written down with the second; a reset drops what nobody knows to be.
    for (const key of ['late', 'later']) await etcd.put([[key, 'gone']]);
  });

  /** `systemctl stop k3s`, on a server whose data are these. */
  async function stop(): Promise<void> {
    const [member] = etcd.members;
    const dataDir = member?.dataDir ?? '';
    member?.kill('SIGKILL');
    while ((await usersOf(dataDir)).length > 0) await sleep(20);
    for (const gone of ['db/etcd', 'db/reset-flag', 'tls/server-ca.crt'])
      await rm(server(gone), { recursive: true, force: true });
    await cp(dataDir, server('db/etcd'), { recursive: true });
    await writeFile(server('tls/server-ca.crt'), 'CA of today');
  }

  /** `systemctl start k3s`: what its etcd finds, and the CA. */
  async function start() {
    await using again = await startEtcd({ dataDir: server('db/etcd') });
    const [early, late] = [await again.get('early'), await again.get('late')];
    const ca = await readFile(server('tls/server-ca.crt'), 'utf8');
    return { early: early?.toString(), late: late?.toString(), ca };
  }

  /** A command of the document by somebody at a terminal, who reads the plan and agrees. */
  const agreed = (text: string, values?: Readonly<Record<string, string>>) =>
    k3s(`echo yes | script -qec '${text.replaceAll(/\\\n */g, '')}' /dev/null`, values);
  const then = { early: 'here', late: undefined, ca: 'CA of then' };

  it.each([['plain'], ['compressed']])(
    'k3s server with --cluster-reset and --cluster-reset-restore-path restores a %s one',
    async (form) => {
      await stop();
      const { stdout } = await agreed(
        `k3s server \\
          --cluster-reset \\
          --cluster-reset-restore-path=<PATH-TO-SNAPSHOT>`,
        { '<PATH-TO-SNAPSHOT>': join(folder(), form === 'plain' ? plain : zip) },
      );
      expect(stdout).toContain(reset);
      expect(stdout).toContain('systemctl start k3s');
      expect((await readdir(server('db'))).filter((name) => /^etcd-old-\d{10}$/.test(name))).not.toEqual([]);
      expect(await start()).toEqual(then);
    },
  );

  it('from S3, with the name of the file alone: it is downloaded to the snapshot folder first', async () => {
    await stop();
    await rm(join(folder(), plain));
    const { stdout } = await agreed(
      `k3s server \\
        --cluster-init \\
        --cluster-reset \\
        --etcd-s3 \\
        --cluster-reset-restore-path=<SNAPSHOT-NAME> \\
        --etcd-s3-bucket=<S3-BUCKET-NAME> \\
        --etcd-s3-access-key=<S3-ACCESS-KEY> \\
        --etcd-s3-secret-key=<S3-SECRET-KEY>`,
      { '<SNAPSHOT-NAME>': plain },
    );
    expect(stdout).toContain(reset);
    expect(await files()).toContain(plain);
    expect(await start()).toEqual(then);
  });

  it('--cluster-reset without a snapshot makes one member, and keeps the data', async () => {
    await stop();
    expect((await agreed('k3s server --cluster-reset')).stdout).toContain(reset);
    expect(await start()).toEqual({ ...then, late: 'gone' });
  });

  it('a server whose old database files were removed is ready to join', async () => {
    await stop();
    await sh(`rm -rf ${server('db/')}`);
    const { stdout } = await k3s('k3s etcd-snapshot restore --rejoin --yes --server=https://10.0.0.1:6443');
    expect(stdout).toMatch(/there were no data.*ready to join.*systemctl start k3s/s);
  });

  it('the settings of S3 cannot come from a Secret, and have to be flags', async () => {
    const flags = '--etcd-s3 --etcd-s3-config-secret=k3s-etcd-snapshot-s3-config';
    const { code, stderr } = await sh(
      `etcd-snapshot server --cluster-reset --cluster-reset-restore-path=x ${flags}`,
    );
    expect(code).toBe(2);
    expect(stderr).toMatch(/API server .* is not there.*\n.*as flags/);
  });
});
