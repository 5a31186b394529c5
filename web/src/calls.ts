// What the page knows of each call, and what the gateway's events change in it. Nothing here touches the page or the network.

import type { CallEvent, CallState, CallView } from './protocol';

export interface Call {
  readonly id: string;
  readonly inbound: boolean;
  readonly number: string;
  readonly name?: string;
  readonly state: CallState;
  readonly muted: boolean;
  readonly held: boolean;
  readonly heldByRemote: boolean;
  readonly autoAnswer: boolean;
  readonly codec?: string;
  /** Milliseconds of this page's clock. */
  readonly startedAt: number;
  readonly answeredAt?: number;
  /** Where the agent is sending the call. */
  readonly transferringTo?: string;
  readonly digitsSent: string;
  readonly digitsReceived: string;
}

const FRESH = { muted: false, held: false, heldByRemote: false, autoAnswer: false, digitsSent: '', digitsReceived: '' };

export function dialled(id: string, number: string): Call {
  return { ...FRESH, id, number, inbound: false, state: 'dialing', startedAt: Date.now() };
}

/** As `connected` lists it. What this page knew of it before, and the list does not tell, is kept. */
export function fromView(view: CallView, clockOffsetMs: number, known?: Call): Call {
  const here = (time: string) => Date.parse(time) - clockOffsetMs;
  return {
    ...FRESH,
    ...known,
    id: view.callId,
    inbound: view.direction === 'inbound',
    number: view.phoneNumber,
    ...(view.callerName && { name: view.callerName }),
    state: view.state,
    muted: view.muted,
    held: view.held,
    startedAt: here(view.startedAt),
    ...(view.answeredAt && { answeredAt: here(view.answeredAt) }),
  };
}

/** The calls after an event. One that ends or fails leaves the list; an event of an unknown call changes nothing. */
export function after(calls: readonly Call[], { name, payload }: CallEvent): readonly Call[] {
  const { callId } = payload;
  const change = (changes: Partial<Call>) => calls.map((call) => (call.id === callId ? { ...call, ...changes } : call));
  switch (name) {
    case 'call:incoming': {
      if (calls.some((call) => call.id === callId)) return calls;
      const { phoneNumber, callerName, autoAnswer } = payload;
      return [...calls, { ...dialled(callId, phoneNumber), inbound: true, state: 'incoming', autoAnswer, ...(callerName && { name: callerName }) }];
    }
    case 'call:ringing':
      return change({ state: payload.earlyMedia ? 'early' : 'ringing' });
    case 'call:answered':
      return change({ state: 'answered', answeredAt: Date.now(), codec: codecName(payload.codec) });
    case 'call:held':
      return change(payload.by === 'local' ? { held: payload.held } : { heldByRemote: payload.held });
    case 'call:muted':
      return change({ muted: payload.muted });
    case 'call:dtmf-received':
      return calls.map((call) => (call.id === callId ? { ...call, digitsReceived: call.digitsReceived + payload.tone } : call));
    case 'call:transferred':
      return calls;
    case 'call:transfer-failed':
      return calls.map((call) => (call.id === callId ? without(call) : call));
    case 'call:ended':
    case 'call:failed':
      return calls.filter((call) => call.id !== callId);
  }
}

function without({ transferringTo: _gone, ...call }: Call): Call {
  return call;
}

function codecName(mimeType: string): string {
  const name = mimeType.replace('audio/', '');
  return name === 'opus' ? 'Opus' : name;
}

/** Answered, be it held or not. */
export function isAnswered(call: Call): boolean {
  return call.state === 'answered' || call.state === 'held';
}

/** The call that the agent talks on. */
export function talking(calls: readonly Call[]): Call | undefined {
  return calls.find((call) => isAnswered(call) && !call.held);
}

/** The call that the keyboard and the thumb act on: one that rings, else the one talked on or dialled, else one on hold. */
export function foremost(calls: readonly Call[]): Call | undefined {
  return byWeight(calls)[0];
}

/** The foremost first. */
export function byWeight(calls: readonly Call[]): Call[] {
  const weight = (call: Call) => (call.state === 'incoming' ? 0 : isAnswered(call) && call.held ? 2 : 1);
  return calls.toSorted((a, b) => weight(a) - weight(b) || a.startedAt - b.startedAt);
}

export function who(call: Pick<Call, 'name' | 'number'>): string {
  return call.name && call.name !== call.number ? `${call.name} (${call.number})` : call.number;
}

export function stateWords(call: Call): string {
  switch (call.state) {
    case 'dialing':
      return 'Calling';
    case 'ringing':
      return 'Ringing';
    case 'early':
      return 'Ringing, with sound';
    case 'incoming':
      return call.autoAnswer ? 'Incoming, answered by itself' : 'Incoming call';
    case 'answered':
    case 'held':
      if (call.transferringTo) return `Transferring to ${call.transferringTo}`;
      if (call.held) return 'On hold';
      if (call.heldByRemote) return 'Put on hold by the other side';
      return call.muted ? 'Connected, you are muted' : 'Connected';
    case 'ended':
      return 'Ended';
    case 'failed':
      return 'Failed';
  }
}

/** `0:07`, `12:34`, `1:02:03`. */
export function timeWords(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}
