// The last calls, kept in this browser for each agent.

import { effect, signal, untracked } from '@preact/signals';
import type { Call } from './calls';
import { agent } from './state';

export interface Past {
  id: string;
  inbound: boolean;
  number: string;
  name?: string;
  /** When it began, in milliseconds of this page's clock. */
  at: number;
  /** How long was talked; none if it was not answered. */
  talkedMs?: number;
  outcome: string;
  /** It did not come about, for whatever reason. */
  missed: boolean;
}

const KEPT = 50;

/** The newest first. */
export const history = signal<readonly Past[]>([]);

/** Two agents at one desk do not see each other's calls. */
const nameOf = ({ tenantId, agentId }: { tenantId: string; agentId: string }) => `nexus-agent.history.${tenantId}/${agentId}`;

effect(() => {
  history.value = agent.value.agentId ? read(nameOf(agent.value)) : [];
});

export function remember(call: Call, outcome: string, missed: boolean): void {
  const { id, inbound, number, name, startedAt, answeredAt } = call;
  const talkedMs = answeredAt === undefined ? undefined : Date.now() - answeredAt;
  const past: Past = { id, inbound, number, at: startedAt, outcome, missed, ...(name && { name }), ...(talkedMs !== undefined && { talkedMs }) };
  keep([past, ...history.value.filter((other) => other.id !== id)].slice(0, KEPT));
}

/** Forgets all; gives what it takes to have it back. */
export function clear(): () => void {
  const before = history.value;
  keep([]);
  return () => keep([...history.value, ...before].slice(0, KEPT));
}

function keep(past: readonly Past[]): void {
  history.value = past;
  try {
    localStorage.setItem(nameOf(untracked(() => agent.value)), JSON.stringify(past));
  } catch {
    // Full or forbidden: it is then forgotten with the page.
  }
}

function read(name: string): Past[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(name) ?? '[]');
    return Array.isArray(value) ? value.filter(isPast) : [];
  } catch {
    return [];
  }
}

function isPast(value: unknown): value is Past {
  const past = value as Partial<Past> | null;
  return typeof past?.id === 'string' && typeof past.number === 'string' && typeof past.at === 'number' && typeof past.outcome === 'string';
}
