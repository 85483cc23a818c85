/** A page that shows a topic twice and the status once, in StrictMode; bundled by the test. */

import { createElement as h, type ReactNode, StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { connect } from '../../src/index.ts';
import { RelayProvider, useRelayStatus, useTopic } from '../../src/react.ts';

interface Page {
	readonly body: unknown;
	getElementById(id: string): unknown;
	readonly location: { readonly origin: string };
}

function List({ id }: { readonly id: string }): ReactNode {
	// Written in place: a new object at each rendering.
	const { messages, gaps, error } = useTopic(['react'], { from: 'earliest', keep: 3 });
	const items = messages.map((message) => h('li', { key: message.id }, JSON.stringify(message.json())));
	return h('ul', { id, 'data-gaps': gaps.length, 'data-error': error?.code ?? '' }, items);
}

function Status(): ReactNode {
	const status = useRelayStatus();
	return h('p', { id: 'status' }, status.state === 'live' ? `live over ${status.transport}` : status.state);
}

function App(): ReactNode {
	const [shown, setShown] = useState(true);
	return [
		h(Status, { key: 'status' }),
		h('button', { key: 'button', id: 'toggle', type: 'button', onClick: () => setShown(!shown) }, shown ? 'hide' : 'show'),
		shown ? h(List, { key: 'one', id: 'one' }) : null,
		shown ? h(List, { key: 'two', id: 'two' }) : null,
	];
}

const page = (globalThis as unknown as { document: Page }).document;
const relay = connect(page.location.origin);
createRoot(page.getElementById('root') as never).render(h(StrictMode, null, h(RelayProvider, { relay }, h(App))));
