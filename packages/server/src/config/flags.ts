/** The command line: `--flag value`, `--flag=value`, and the few flags that are no settings. */

import { masked } from './masked.ts';
import { flagOf, SETTINGS, type Setting } from './schema.ts';

/** The flags that are no settings. */
export const OTHER_FLAGS = [
	{ usage: '--config <file>', doc: 'Read this YAML or TOML file; also PULSAR_CONFIG_FILE.' },
	{ usage: '--help, -h', doc: 'Print this text.' },
	{ usage: '--version, -v', doc: 'Print the version.' },
] as const;

/** What can be done instead of serving, and the flags that go with it. */
export const IMPORT_FLAGS = [
	{ usage: '--from-reference', doc: 'From the Valkey of pulsar-relay 0.2, into the store that the settings name.' },
	{ usage: '--dry-run', doc: 'Only look, and say what would be done.' },
] as const;

/** Flags that do not exist but may be mistyped names of secrets. */
const LIKE_SECRETS = /pass|secret|token|key|source/i;

/** What the relay is to do. */
export type Task = { readonly kind: 'serve' } | { readonly kind: 'import'; readonly dryRun: boolean };

/** What the command line says. */
export interface Flags {
	/** By the setting's name in the environment; of a flag given twice the last one counts. */
	readonly given: ReadonlyMap<string, { readonly raw: string; readonly name: string }>;
	readonly task: Task;
	readonly configFile: string | undefined;
	/** What to print instead of running; `help` when both are asked for. */
	readonly asked: 'help' | 'version' | undefined;
	readonly problems: readonly string[];
}

/** Parses the arguments. Everything that is not a known flag with its value is a problem. */
export function parseFlags(argv: readonly string[]): Flags {
	const settings: ReadonlyMap<string, Setting> = new Map(SETTINGS.map((setting) => [flagOf(setting), setting]));
	const given = new Map<string, { raw: string; name: string }>();
	const problems: string[] = [];
	let configFile: string | undefined;
	let asked: Flags['asked'];

	const imports = argv[0] === 'import';
	const importFlags = new Set<string>();
	// After a flag whose value may be a secret, an argument out of place may be a part of it.
	let secretsMayFollow = false;

	for (let i = imports ? 1 : 0; i < argv.length; i++) {
		const argument = argv[i] ?? '';
		if (argument === '--help' || argument === '-h') {
			asked = 'help';
			continue;
		}
		if (argument === '--version' || argument === '-v') {
			asked ??= 'version';
			continue;
		}
		if (imports && IMPORT_FLAGS.some(({ usage }) => usage === argument)) {
			importFlags.add(argument);
			continue;
		}
		const equals = argument.indexOf('=');
		const flag = equals < 0 ? argument : argument.slice(0, equals);
		const inline = equals < 0 ? undefined : argument.slice(equals + 1);
		const setting = settings.get(flag);
		const named = secretsMayFollow ? `argument ${i + 1}` : null;
		if (!flag.startsWith('-')) {
			problems.push(
				`${named ?? JSON.stringify(masked(argument))}: only flags are understood, and the command import before them`,
			);
			continue;
		}
		// The value after an unknown flag is taken too, so that one mistake is reported once.
		const following = inline === undefined && setting?.type !== 'bool' && isValue(argv[i + 1]) ? argv[++i] : undefined;
		const raw = inline ?? (setting?.type === 'bool' ? 'true' : following);
		secretsMayFollow ||= setting?.secret ?? (setting === undefined && LIKE_SECRETS.test(flag));
		if (setting === undefined && flag !== '--config') problems.push(`${named ?? masked(flag)}: there is no such flag`);
		else if (raw === undefined || raw.trim() === '') problems.push(`${flag}: needs a value`);
		else if (setting === undefined) configFile = raw;
		else given.set(setting.env, { raw, name: flag });
	}
	if (imports && !importFlags.has('--from-reference')) problems.push('import requires --from-reference');
	const task: Task = imports ? { kind: 'import', dryRun: importFlags.has('--dry-run') } : { kind: 'serve' };
	return { given, task, configFile, asked, problems };
}

/** A flag where a value should be means that the value was forgotten; a negative number is a value. */
function isValue(argument: string | undefined): boolean {
	return argument !== undefined && !/^-[^0-9]/.test(argument);
}
