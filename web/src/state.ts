// Everything that the page shows, in one place. The session changes it, the views read it.

import { computed, signal } from '@preact/signals';
import { talking, type Call } from './calls';
import type { Quality } from './quality';
import { isFlag, stored } from './stored';
import type { Words } from './words';

export type Stage = 'starting' | 'signed-out' | 'connecting' | 'signed-in' | 'taken-over';
export const stage = signal<Stage>('starting');
export const agent = signal({ agentId: '', tenantId: '' });
/** Why the agent was not let in. */
export const signInTrouble = signal<Words | undefined>(undefined);
/** A new token is asked for while the page stays as it is. */
export const tokenWanted = signal(false);

export type Server = 'off' | 'connecting' | 'connected' | 'lost';
export const server = signal<Server>('off');

export type Microphone = 'off' | 'asking' | 'on' | 'silent' | 'unusable';
export const microphone = signal<Microphone>('off');

/** The state of both directions together. */
export type Sound = 'off' | 'connecting' | 'connected' | 'interrupted' | 'failed';
export const sound = signal<Sound>('off');

export const calls = signal<readonly Call[]>([]);
export const maxCalls = signal(2);
export const talkingCall = computed(() => talking(calls.value));
export const quality = signal<ReadonlyMap<string, Quality>>(new Map());

/** What is being typed to be dialled. */
export const number = signal('');
/** What is open on the call that the agent acts on. */
export const panel = signal<'keypad' | 'transfer' | undefined>(undefined);
export const dialog = signal<'audio' | 'help' | undefined>(undefined);
/** The demo PBX's numbers, where it is the one that answers. */
export const demoNumbers = signal<{ number: string; what: string }[]>([]);
export const devSignIn = signal(false);

export const shortcuts = stored('shortcuts', true, isFlag);

/** The time, while somebody looks at it: it moves once a second. */
export const now = signal(Date.now());

/** Something the agent has to know. There is one of each topic. */
export interface Notice extends Words {
  topic: 'server' | 'microphone' | 'sound' | 'speaker' | 'token' | 'call' | 'history';
  kind: 'error' | 'warning' | 'info';
  action?: { label: string; run: () => void };
}
export const notices = signal<readonly Notice[]>([]);

export function notify(notice: Notice): void {
  notices.value = [...notices.value.filter(({ topic }) => topic !== notice.topic), notice];
}

export function dismiss(topic: Notice['topic']): void {
  if (notices.value.some((notice) => notice.topic === topic)) notices.value = notices.value.filter((notice) => notice.topic !== topic);
}

/** What a screen reader says next. */
export const announcement = signal('');
export function announce(text: string): void {
  announcement.value = text;
}
