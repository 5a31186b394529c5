// What the page knows of each call, and how one looks.

import type { CallState, CallView, ServerEvents } from './protocol';

export interface Call {
  id: string;
  inbound: boolean;
  number: string;
  callerName?: string;
  state: CallState;
  earlyMedia: boolean;
  muted: boolean;
  held: boolean;
  heldByRemote: boolean;
  codec?: string;
  /** Milliseconds of this page's clock. */
  answeredAt?: number;
  digits: string;
}

export type CallAction = 'answer' | 'reject' | 'hangup' | 'mute' | 'hold';

export function fromView(view: CallView, clockOffsetMs: number): Call {
  return {
    id: view.callId,
    inbound: view.direction === 'inbound',
    number: view.phoneNumber,
    callerName: view.callerName,
    state: view.state,
    earlyMedia: view.state === 'early',
    muted: view.muted,
    held: view.held,
    heldByRemote: false,
    answeredAt: view.answeredAt ? Date.parse(view.answeredAt) - clockOffsetMs : undefined,
    digits: '',
  };
}

export function dialled(id: string, number: string): Call {
  return { id, number, inbound: false, state: 'dialing', earlyMedia: false, muted: false, held: false, heldByRemote: false, digits: '' };
}

export function fromIncoming(incoming: ServerEvents['call:incoming']): Call {
  return { ...dialled(incoming.callId, incoming.phoneNumber), inbound: true, state: 'incoming', callerName: incoming.callerName };
}

/** Answered, be it held or not. */
export function isTalking(call: Call): boolean {
  return call.state === 'answered' || call.state === 'held';
}

export function stateWords(call: Call): string {
  switch (call.state) {
    case 'dialing':
      return 'Dialling';
    case 'ringing':
      return 'Ringing';
    case 'early':
      return 'Ringing, with sound';
    case 'incoming':
      return 'Incoming call';
    case 'answered':
    case 'held':
      if (call.held) return 'On hold';
      return call.heldByRemote ? 'Put on hold by the other side' : call.muted ? 'Connected, you are muted' : 'Connected';
    case 'ended':
      return 'Ended';
    case 'failed':
      return 'Failed';
  }
}

export function timeWords(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** One call's card. Its buttons stay the same elements while the call lives, so that focus and screen readers keep their place. */
export class CallCard {
  readonly element = document.createElement('article');
  private readonly title = document.createElement('h3');
  private readonly state = document.createElement('p');
  private readonly digits = document.createElement('p');
  private readonly buttons: Record<CallAction, HTMLButtonElement>;

  constructor(
    call: Call,
    act: (action: CallAction) => void,
  ) {
    this.element.className = 'call';
    const actions = document.createElement('div');
    actions.className = 'actions';
    const button = (action: CallAction, text: string, look: string) => {
      const element = document.createElement('button');
      element.type = 'button';
      element.className = look;
      element.textContent = text;
      element.addEventListener('click', () => act(action));
      actions.append(element);
      return element;
    };
    this.buttons = {
      answer: button('answer', 'Answer', 'go'),
      reject: button('reject', 'Reject', 'stop'),
      mute: button('mute', 'Mute', ''),
      hold: button('hold', 'Hold', ''),
      hangup: button('hangup', 'Hang up', 'stop'),
    };
    this.digits.className = 'digits';
    this.element.append(this.title, this.state, this.digits, actions);
    this.update(call);
  }

  update(call: Call): void {
    const who = call.callerName && call.callerName !== call.number ? `${call.callerName} (${call.number})` : call.number;
    setText(this.title, who);
    const time = call.answeredAt === undefined ? '' : ` · ${timeWords((Date.now() - call.answeredAt) / 1000)}`;
    const codec = call.codec ? ` · ${call.codec.replace('audio/', '')}` : '';
    setText(this.state, stateWords(call) + time + codec);
    setText(this.digits, call.digits && `Digits received: ${call.digits}`);
    this.element.dataset.state = call.held ? 'held' : call.state;
    this.element.setAttribute('aria-label', `${call.inbound ? 'Call from' : 'Call to'} ${who}`);

    const talking = isTalking(call);
    const ringingIn = call.state === 'incoming';
    this.buttons.answer.hidden = this.buttons.reject.hidden = !ringingIn;
    this.buttons.hangup.hidden = ringingIn;
    this.buttons.mute.hidden = this.buttons.hold.hidden = !talking;
    toggle(this.buttons.mute, call.muted, 'Mute', 'Unmute');
    toggle(this.buttons.hold, call.held, 'Hold', 'Resume');
  }
}

function toggle(button: HTMLButtonElement, on: boolean, offText: string, onText: string): void {
  setText(button, on ? onText : offText);
  button.classList.toggle('on', on);
}

/** Writes only what changed: a live region would otherwise be read out again and again. */
function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
