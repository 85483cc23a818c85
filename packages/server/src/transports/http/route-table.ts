/** Which methods a path is served for: what tells a 405 from a 404. Asked only when a request found no route. */

interface Route {
	readonly path: RegExp;
	readonly method: string;
}

export class RouteTable {
	readonly #routes: Route[] = [];

	/** Adds a route; in its `url`, `:name` stands for one segment and `*` for the rest, which is not empty. */
	add({ url, method }: { readonly url: string; readonly method: string | string[] }): void {
		const pattern = url
			.replace(/\/$/, '')
			.split('/')
			.map((part) => (part === '*' ? '.+' : part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
			.join('/');
		for (const each of [method].flat()) this.#routes.push({ path: new RegExp(`^${pattern}/?$`), method: each });
	}

	/** The methods of a request target's path, none when there is no such path. */
	methodsOf(target: string): readonly string[] {
		const path = target.split('?', 1)[0] ?? '';
		return [...new Set(this.#routes.filter((route) => route.path.test(path)).map((route) => route.method))].sort();
	}
}
