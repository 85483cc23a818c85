/** The settings of the sign-in providers, of which there are as many as are named. */

import type { ReadFile } from './file.ts';
import { fileSettingOf, PROVIDER_SETTINGS, type ProviderConfig, type Setting, withFileSettings } from './schema.ts';
import { readSecretFile } from './secrets.ts';
import { readValue, type SettingValue } from './values.ts';

const NAME = /^PULSAR_OIDC__PROVIDERS__([A-Z0-9](?:[A-Z0-9-]|_(?!_)){0,23})__([A-Z_]+)$/;
const PREFIX = 'PULSAR_OIDC__PROVIDERS__<NAME>__';
const PROVIDERS_MAX = 20;

/** A value that somebody gave, with the name they gave it under, for messages. */
interface Given {
	readonly raw: unknown;
	readonly name: string;
}

/** Whether a name, as in the environment, is one of a setting of some provider. */
export function isProviderVariable(env: string): boolean {
	return settingOf(env) !== undefined;
}

/** Reads the providers from what was given, under names as in the environment; the first of the sources counts. */
export function readProviders(
	sources: readonly ReadonlyMap<string, Given>[],
	readFile: ReadFile,
): {
	readonly providers: readonly ProviderConfig[];
	readonly problems: readonly string[];
} {
	const problems: string[] = [];
	const names = new Set<string>();
	for (const source of sources) {
		for (const env of source.keys()) {
			const [, name] = NAME.exec(env) ?? [];
			if (name !== undefined && isProviderVariable(env)) names.add(name);
		}
	}
	if (names.size > PROVIDERS_MAX) problems.push(`PULSAR_OIDC__PROVIDERS: there are ${names.size}, and may be ${PROVIDERS_MAX}`);
	const providers = [...names].sort().map((name) => {
		const values: Record<string, SettingValue> = { name: name.toLowerCase() };
		const givenFor = (setting: Setting) => {
			const env = setting.env.replace('<NAME>', name);
			return sources.map((source) => source.get(env)).find((given) => given !== undefined);
		};
		for (const setting of PROVIDER_SETTINGS as readonly Setting[]) {
			values[setting.key] = setting.default;
			const from = givenFor(setting);
			const file = setting.secret === true ? givenFor(fileSettingOf(setting)) : undefined;
			if (from === undefined && file === undefined) continue;
			const read =
				file === undefined
					? readValue(setting, from?.raw)
					: readSecretFile(setting, { file: file.raw, givenAs: from?.name ?? null, readFile });
			if (read.status === 'ok') values[setting.key] = read.value;
			else problems.push(`${(file ?? from)?.name}: ${read.problem}`);
		}
		// The loop gave every key of the table a value of its setting's type.
		return Object.freeze(values) as unknown as ProviderConfig;
	});
	return { providers, problems };
}

function settingOf(env: string): Setting | undefined {
	const [, , field] = NAME.exec(env) ?? [];
	return field === undefined
		? undefined
		: withFileSettings(PROVIDER_SETTINGS).find((setting) => setting.env === `${PREFIX}${field}`);
}
