// Who the agent is: what the address and the last page say, and what the gateway lets in.

import type { Identity, Service } from './protocol';

/** For a reload of this tab only: a token does not outlive it. */
const KEPT = 'nexus-agent.identity';

/** Who signs in on a developer's machine by opening the page. */
export const DEV_AGENT = '1001';
export const DEV_TENANT = 'demo';

export async function askService(): Promise<Service | undefined> {
  try {
    const response = await fetch('./', { headers: { accept: 'application/json' }, cache: 'no-store' });
    return (await response.json()) as Service;
  } catch {
    return undefined;
  }
}

/** Who signs in without being asked: the one from before a reload, or on a developer's machine whoever the address names. */
export function knownIdentity(dev: boolean): Identity | undefined {
  const named = new URLSearchParams(location.hash.slice(1));
  const agentId = named.get('agent');
  const kept = readKept();
  if (dev && agentId && agentId !== kept?.agentId) return { agentId, tenantId: named.get('tenant') ?? DEV_TENANT, token: '' };
  return kept ?? (dev ? { agentId: DEV_AGENT, tenantId: DEV_TENANT, token: '' } : undefined);
}

export function keepIdentity(identity: Identity): void {
  sessionStorage.setItem(KEPT, JSON.stringify(identity));
}

export function forgetIdentity(): void {
  sessionStorage.removeItem(KEPT);
}

function readKept(): Identity | undefined {
  try {
    const { agentId, tenantId, token } = JSON.parse(sessionStorage.getItem(KEPT) ?? '{}') as Partial<Identity>;
    return typeof token === 'string' ? { agentId: agentId ?? '', tenantId: tenantId ?? '', token } : undefined;
  } catch {
    return undefined;
  }
}
