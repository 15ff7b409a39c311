import type { CommandName, Option } from '../config/option.ts';
import { commandWords, options } from '../config/options.ts';
import { usage } from '../config/resolve.ts';
import { helpers, summaries } from './help.ts';

const shells = { bash, zsh, fish } as const;

/** The completion script of a shell, made from the option table. @throws SnapshotError `usage` */
export function completionFor(shell: string | undefined): string {
  for (const [name, script] of Object.entries(shells)) if (name === shell) return script();
  const names = Object.keys(shells).join(', ');
  throw usage([
    {
      what: 'completion needs the name of a shell',
      cure: `write etcd-snapshot completion with one of ${names}`,
    },
  ]);
}

const words = [...Object.keys(commandWords), ...Object.keys(helpers)];

/** Words with what they do. */
const described: readonly (readonly [string, string])[] = [
  ...Object.entries(commandWords).map(([word, command]) => [word, summaries[command]] as const),
  ...Object.entries(helpers),
];

/** Lists the names that `delete`, `verify` and `restore` may get; the latter two take paths as well. */
const LIST_NAMES = "ls --s3=false --quiet 2>/dev/null | tail -n +2 | cut -d ' ' -f 1";

function spellings({ flag, alias, short }: Option): string[] {
  return [
    `--${flag}`,
    ...(alias === undefined ? [] : [`--${alias}`]),
    ...(short === undefined ? [] : [`-${short}`]),
  ];
}

/** Every word that means the command. */
function wordsOf(command: CommandName): string[] {
  return Object.keys(commandWords).filter((word) => commandWords[word] === command);
}

function commandsOf(option: Option): string[] {
  return option.commands.flatMap(wordsOf);
}

function flagsOf(command: CommandName): readonly Option[] {
  return options.filter((option) => option.commands.includes(command));
}

const commands = [...new Set(Object.values(commandWords))];

function bash(): string {
  const patterns = (chosen: readonly Option[]) => chosen.flatMap(spellings).join('|');
  const valued = options.filter(({ type }) => type !== 'boolean');
  const choices = valued
    .filter((option) => option.choices !== undefined)
    .map(
      (option) =>
        `    ${spellings(option).join('|')}) COMPREPLY=($(compgen -W '${option.choices?.join(' ')}' -- "$cur")); return ;;`,
    );
  const flags = commands.map(
    (command) => `    ${wordsOf(command).join('|')}) ${bashFlags(flagsOf(command))} ;;`,
  );
  return `# bash completion of etcd-snapshot: source <(etcd-snapshot completion bash)
_etcd_snapshot() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command='' flags='' long='' i
  # Bash takes --flag=value for three words.
  if [[ $cur == '=' ]]; then cur=''
  elif [[ $prev == '=' ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
    ${words.join('|')}) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  case $prev in
${choices.join('\n')}
    ${patterns(valued.filter(({ path }) => path === 'folder'))}) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); return ;;
    ${patterns(valued.filter(({ path }) => path === 'file'))}) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    ${patterns(valued.filter(({ path, choices: some }) => path === undefined && some === undefined))}) return ;;
  esac
  case $command in
${flags.join('\n')}
    completion) COMPREPLY=($(compgen -W '${Object.keys(shells).join(' ')}' -- "$cur")); return ;;
    help) COMPREPLY=($(compgen -W '${commands.join(' ')}' -- "$cur")); return ;;
    man) return ;;
    *) ${bashFlags(options)} ;;
  esac
  # The second spellings only for those who begin with them.
  if [[ $cur == --etcd-* ]]; then COMPREPLY=($(compgen -W "$flags $long" -- "$cur"))
  elif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$flags --help" -- "$cur"))
  elif [[ $command == '' ]]; then COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$cur"))
  elif [[ $command == s3 ]]; then COMPREPLY=($(compgen -W check -- "$cur"))
  elif [[ $command == @(delete|verify|restore) ]]; then
    COMPREPLY=($(compgen -W "$("\${COMP_WORDS[0]}" ${LIST_NAMES})" -- "$cur"))
    [[ $command == delete ]] || compopt -o default 2>/dev/null
  fi
}
complete -F _etcd_snapshot etcd-snapshot
`;
}

function bashFlags(chosen: readonly Option[]): string {
  const long = chosen.flatMap(({ alias }) => (alias === undefined ? [] : [`--${alias}`]));
  const flags = chosen.flatMap(spellings).filter((name) => !long.includes(name));
  return `flags='${flags.join(' ')}' long='${long.join(' ')}'`;
}

function zsh(): string {
  const quoted = (text: string) => text.replaceAll("'", "'\\''");
  const specs = (option: Option): string[] => {
    const help = option.help.replaceAll(/[[\]:\\]/g, '\\$&');
    const names = spellings(option);
    const value = {
      file: ':file:_files',
      folder: ':folder:_files -/',
      none: ':value: ',
    }[option.path ?? 'none'];
    const action = option.choices === undefined ? value : `:value:(${option.choices.join(' ')})`;
    return names.map((name) => {
      const form = option.type === 'boolean' ? name : name.startsWith('--') ? `${name}=` : `${name}+`;
      return `    '${quoted(`(${names.join(' ')})${form}[${help}]${option.type === 'boolean' ? '' : action}`)}'`;
    });
  };
  const cases = commands.map(
    (command) =>
      `  ${wordsOf(command).join('|')}) flags=(\n${flagsOf(command).flatMap(specs).join('\n')}\n  ) ;;`,
  );
  return `#compdef etcd-snapshot
# zsh completion of etcd-snapshot: source <(etcd-snapshot completion zsh), or as a file _etcd-snapshot in a folder of $fpath
_etcd_snapshot() {
  local -a commands flags
  local command='' word program=$words[1] context state state_descr line
  typeset -A opt_args
  commands=(
${described.map(([word, summary]) => `    '${quoted(`${word}:${summary.replaceAll(':', '\\:')}`)}'`).join('\n')}
  )
  for word in $words[2,CURRENT-1]; do
    case $word in
    ${words.join('|')}) command=$word; break ;;
    esac
  done
  case $command in
${cases.join('\n')}
  completion) compadd ${Object.keys(shells).join(' ')}; return ;;
  help) compadd ${commands.join(' ')}; return ;;
  man) return ;;
  *) flags=(
${options.flatMap(specs).join('\n')}
  ) ;;
  esac
  _arguments -S '--help[Show the help]' $flags '*:word:->word'
  [[ $state == word ]] || return
  if [[ $command == '' ]]; then _describe command commands
  elif [[ $command == s3 ]]; then compadd check
  elif [[ $command == (delete|verify|restore) ]]; then
    compadd -- \${(f)"$($program ${LIST_NAMES})"}
    [[ $command == delete ]] || _files
  fi
}
compdef _etcd_snapshot etcd-snapshot
`;
}

function fish(): string {
  const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = options.flatMap((option) => {
    const condition = quoted(`__etcd_snapshot_takes ${commandsOf(option).join(' ')}`);
    const value = {
      file: ' -r -F',
      folder: " -x -a '(__fish_complete_directories)'",
      none: option.choices === undefined ? ' -x' : ` -x -a '${option.choices.join(' ')}'`,
    }[option.path ?? 'none'];
    const names = [
      ...(option.short === undefined ? [] : [`-s ${option.short}`]),
      `-l ${option.flag}`,
      ...(option.alias === undefined ? [] : [`-l ${option.alias}`]),
    ].join(' ');
    const rest = `${option.type === 'boolean' ? '' : value} -d ${quoted(option.help)}`;
    return `complete -c etcd-snapshot -n ${condition} ${names}${rest}`;
  });
  return `# fish completion of etcd-snapshot: etcd-snapshot completion fish | source
complete -c etcd-snapshot -f
function __etcd_snapshot_takes
    not __fish_seen_subcommand_from ${words.join(' ')}; or __fish_seen_subcommand_from $argv
end
${described
  .map(
    ([word, summary]) =>
      `complete -c etcd-snapshot -n 'not __fish_seen_subcommand_from ${words.join(' ')}' -a ${word} -d ${quoted(summary)}`,
  )
  .join('\n')}
complete -c etcd-snapshot -n '__fish_seen_subcommand_from completion' -a '${Object.keys(shells).join(' ')}'
complete -c etcd-snapshot -n '__fish_seen_subcommand_from help' -a '${commands.join(' ')}'
complete -c etcd-snapshot -n '__fish_seen_subcommand_from s3' -a check
complete -c etcd-snapshot -n '__fish_seen_subcommand_from delete' -a "(etcd-snapshot ${LIST_NAMES})"
complete -c etcd-snapshot -n '__fish_seen_subcommand_from verify restore' -F -a "(etcd-snapshot ${LIST_NAMES})"
complete -c etcd-snapshot -l help -s h -d 'Show the help'
${lines.join('\n')}
`;
}
