/** The dashboard, as the tests read it. */

import { readText } from './files.ts';

export interface Target {
	readonly refId: string;
	readonly expr: string;
	readonly legendFormat?: string;
	readonly datasource: { readonly type: string; readonly uid: string };
}

export interface Panel {
	readonly id: number;
	readonly type: string;
	readonly title: string;
	readonly datasource?: { readonly type: string; readonly uid: string };
	readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
	readonly targets?: readonly Target[];
}

export interface Dashboard {
	readonly uid: string;
	readonly title: string;
	readonly schemaVersion: number;
	readonly templating: {
		readonly list: readonly {
			readonly name: string;
			readonly datasource: { readonly uid: string };
			readonly query: { readonly query: string };
			readonly allValue: string;
		}[];
	};
	readonly panels: readonly Panel[];
}

export function readDashboard(): Dashboard {
	return JSON.parse(readText('deploy/grafana/dashboards/relay.json')) as Dashboard;
}

/** The queries of all panels, each with its panel's title. */
export function queriesOf({ panels }: Dashboard): { readonly title: string; readonly expr: string }[] {
	return panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
}
