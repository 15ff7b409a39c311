import { type Option, options } from '../config/options.ts';

const SECTIONS = ['Snapshot', 'S3', 'etcd', 'General'] as const;

const EXIT_CODES = `Exit codes:
  0    done
  1    failed; nothing half-made was left
  2    the command line or a setting is wrong; nothing was begun
  3    saved, but not everywhere that was asked for
  130  interrupted
`;

const EXAMPLES = {
  save: `Examples:
  etcd-snapshot save
  etcd-snapshot save --name pre-upgrade --snapshot-compress
  etcd-snapshot save --s3 --s3-bucket=backups --s3-folder=prod     (keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)
  etcd-snapshot save --distribution=custom --dir=/backup --etcd-servers=https://10.0.0.1:2379 \\
      --etcd-cafile=ca.crt --etcd-certfile=client.crt --etcd-keyfile=client.key
`,
  ls: `Examples:
  etcd-snapshot ls
  etcd-snapshot ls -o json
  etcd-snapshot ls --s3 --s3-bucket=backups --s3-folder=prod
`,
} as const;

const SUMMARY = {
  save: 'Take a snapshot of etcd now: on the disk of this node and, if asked, on S3',
  ls: 'List the snapshots on the disk of this node and, if asked, on S3 (also: list, l)',
} as const;

export function overview(): string {
  return `Proven snapshots of etcd, on disk and on S3.

Usage: etcd-snapshot <command> [flags]

Commands:
  save    ${SUMMARY.save}
  ls      ${SUMMARY.ls}
  help    Show the help of a command

Flags stand before or after the command. See etcd-snapshot <command> --help.

${EXIT_CODES}`;
}

export function helpOf(command: 'save' | 'ls'): string {
  const rows = options.filter((option) => option.commands.includes(command));
  const width = Math.max(...rows.map((option) => left(option).length));
  const sections = SECTIONS.map((section) => {
    const lines = rows.filter((option) => option.section === section).map((option) => line(option, width));
    return lines.length === 0 ? '' : `${section}:\n${lines.join('')}\n`;
  });
  const aliases =
    'Flags of the sections Snapshot and S3 may also be spelled as for k3s server: --etcd-s3-bucket, --etcd-snapshot-dir, …';
  return `${SUMMARY[command]}.

Usage: etcd-snapshot ${command} [flags]

${EXAMPLES[command]}
${sections.join('')}${aliases}

${EXIT_CODES}`;
}

function left(option: Option): string {
  const value = option.type === 'boolean' ? '' : option.type === 'duration' ? ' <time>' : ' <text>';
  return `  ${option.short === undefined ? '    ' : `-${option.short}, `}--${option.flag}${value}`;
}

function line(option: Option, width: number): string {
  const more = [
    ...(option.env === undefined ? [] : [option.env.map((name) => `$${name}`).join(', ')]),
    ...(option.default === undefined ? [] : [`default ${option.default}`]),
  ];
  return `${left(option).padEnd(width)}  ${option.help}${more.length === 0 ? '' : ` [${more.join('; ')}]`}\n`;
}
