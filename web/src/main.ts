// The agent page: sign in, keep the audio up, and show the calls.

import { CallCard, dialled, fromIncoming, fromView, isTalking, timeWords, type Call, type CallAction } from './calls';
import { Gateway, Refused, type GatewayListener } from './gateway';
import { Media, type Side } from './media';
import type { Connected, Identity, ServerEvents } from './protocol';
import { Meter, Ringer, type Ring } from './sound';
import { ofConnectError, ofEndedCall, ofError, ofFailedCall } from './words';

const RECENT_MAX = 6;
const REBUILD_DELAY_MS = 1_000;
const STORE = 'nexus-agent';

const DEMO_NUMBERS: [string, string][] = [
  ['9196', 'echo: hear yourself'],
  ['9197', 'a 1 kHz tone'],
  ['9180', 'calls you back in five seconds'],
  ['9183', 'ringback for 5 s, then an answer'],
  ['9320', 'hangs up after 3 s'],
  ['7001', 'sends back the digits you press'],
  ['6486', 'busy'],
  ['6404', 'does not exist'],
  ['6408', 'never answers'],
];

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

const view = {
  signIn: element<HTMLFormElement>('sign-in'),
  desk: element('desk'),
  who: element('who'),
  signOut: element<HTMLButtonElement>('sign-out'),
  alert: element('alert'),
  alertText: element('alert-text'),
  number: element<HTMLInputElement>('number'),
  codec: element<HTMLSelectElement>('codec'),
  calls: element('calls'),
  noCalls: element('no-calls'),
  recent: element<HTMLOListElement>('recent'),
  recentTitle: element('recent-title'),
  remote: element<HTMLAudioElement>('remote'),
};

/** Everything from a sign-in to the sign-out. */
class Session implements GatewayListener {
  private readonly gateway: Gateway;
  private readonly media: Media;
  private readonly calls = new Map<string, { call: Call; card: CallCard }>();
  private welcome: Connected | undefined;
  private starting: Promise<void> | undefined;
  private over = false;

  constructor(private readonly identity: Identity) {
    showStatus('gateway', 'wait', 'connecting');
    this.gateway = new Gateway(identity, this);
    this.media = new Media(this.gateway, {
      state: (side, state) => this.transportChanged(side, state),
      microphone: (track) => meters().mic.listenTo(track),
      remote: (track) => {
        view.remote.srcObject = new MediaStream([track]);
        meters().remote.listenTo(track);
        view.remote.play().catch(() => say('Press any key or button on this page to hear your calls.'));
      },
    });
  }

  // --- what the gateway tells

  connected(welcome: Connected): void {
    this.welcome = welcome;
    remember(this.identity);
    say('');
    showStatus('gateway', 'on', 'connected');
    view.who.textContent = `${welcome.agentId} · ${welcome.tenantId}`;
    show({ signedIn: true });
    if (!welcome.resumed) this.listCalls(welcome);
    if (!welcome.resumed || !this.media.usable) this.startMedia();
  }

  disconnected(final: boolean): void {
    showStatus('gateway', final ? 'off' : 'wait', final ? 'not connected' : 'connection lost, trying again');
  }

  refused(error: Error, final: boolean): void {
    showStatus('gateway', final ? 'off' : 'wait', final ? 'refused' : 'cannot be reached, trying again');
    say(ofConnectError(error));
    if (final) signOut();
  }

  error(code: string, message: string): void {
    say(ofError(new Refused(message, code)));
    if (code !== 'SESSION_TAKEN_OVER') return;
    signOut();
    say('You signed in somewhere else, so this page was disconnected. Sign in here to use this page instead.');
  }

  event<E extends keyof ServerEvents>(name: E, payload: ServerEvents[E]): void {
    if (name === 'call:incoming') return this.add(fromIncoming(payload as ServerEvents['call:incoming']));
    if (name === 'call:failed') return this.finish(payload.callId, ofFailedCall(payload as ServerEvents['call:failed']), true);
    if (name === 'call:ended') return this.finish(payload.callId, ofEndedCall(payload as ServerEvents['call:ended']), false);
    const entry = this.calls.get(payload.callId);
    if (!entry) return;
    apply(entry.call, name, payload);
    this.refresh();
  }

  // --- what the agent does

  async dial(phoneNumber: string): Promise<void> {
    const { callId } = await this.gateway.ask('call:dial', { phoneNumber, clientCallId: crypto.randomUUID() });
    this.add(dialled(callId, phoneNumber));
  }

  /** A key of the dial pad: a digit to the call that is talking, else to the number. */
  async key(tone: string): Promise<void> {
    const talking = [...this.calls.values()].find(({ call }) => isTalking(call) && !call.held);
    if (talking) await this.gateway.ask('call:dtmf', { callId: talking.call.id, tone });
    else view.number.value += tone;
  }

  async changeCodec(): Promise<void> {
    if (this.calls.size > 0) say('The codec is used from the next call on.');
    await this.media.changeCodec(view.codec.value);
  }

  private async act(call: Call, action: CallAction): Promise<void> {
    const callId = call.id;
    switch (action) {
      case 'answer':
        return void (await this.gateway.ask('call:answer', { callId }));
      case 'reject':
        return void (await this.gateway.ask('call:reject', { callId }));
      case 'hangup':
        return void (await this.gateway.ask('call:hangup', { callId }));
      case 'mute':
        return void (await this.gateway.ask('call:mute', { callId, muted: !call.muted }));
      case 'hold':
        return void (await this.gateway.ask(call.held ? 'call:unhold' : 'call:hold', { callId }));
    }
  }

  end(): void {
    this.over = true;
    this.gateway.close();
    this.media.end();
    this.calls.clear();
    this.refresh();
  }

  /** Once a second: the calls' clocks. */
  tick(): void {
    for (const { call, card } of this.calls.values()) card.update(call);
  }

  // --- inside

  /** One start at a time; a reconnect while one is under way starts again after it. */
  private startMedia(): void {
    const before = this.starting ?? Promise.resolve();
    this.starting = before
      .then(() => (this.over || !this.welcome ? undefined : this.media.start(this.welcome.producerId, view.codec.value)))
      .catch((error) => {
        if (!this.over) say(ofError(error));
      });
  }

  private transportChanged(side: Side, state: RTCPeerConnectionState): void {
    if (this.over) return;
    const words: Record<RTCPeerConnectionState, ['on' | 'wait' | 'off', string]> = {
      new: ['wait', 'connecting'],
      connecting: ['wait', 'connecting'],
      connected: ['on', 'connected'],
      disconnected: ['wait', 'interrupted'],
      failed: ['off', 'connection failed, trying again'],
      closed: ['off', 'not connected'],
    };
    showStatus(side, ...words[state]);
    if (state === 'failed') setTimeout(() => !this.over && !this.media.usable && this.startMedia(), REBUILD_DELAY_MS);
  }

  private listCalls(welcome: Connected): void {
    const clockOffsetMs = Date.parse(welcome.serverTime) - Date.now();
    for (const { card } of this.calls.values()) card.element.remove();
    this.calls.clear();
    for (const call of welcome.calls) this.add(fromView(call, clockOffsetMs));
    this.refresh();
  }

  private add(call: Call): void {
    if (this.calls.has(call.id)) return;
    const card = new CallCard(call, (action) => this.act(call, action).catch((error) => say(ofError(error))));
    this.calls.set(call.id, { call, card });
    view.calls.append(card.element);
    this.refresh();
  }

  private finish(callId: string, outcome: string, failed: boolean): void {
    const entry = this.calls.get(callId);
    if (!entry) return;
    this.calls.delete(callId);
    entry.card.element.remove();
    if (failed) say(`${entry.call.number}: ${outcome}`);
    remind(entry.call, outcome, (number) => this.dial(number).catch((error) => say(ofError(error))));
    this.refresh();
  }

  private refresh(): void {
    this.tick();
    view.noCalls.hidden = this.calls.size > 0;
    ringer.play(this.ring());
  }

  private ring(): Ring | undefined {
    const calls = [...this.calls.values()].map(({ call }) => call);
    if (calls.some(isTalking)) return undefined;
    if (calls.some((call) => call.state === 'incoming')) return 'incoming';
    return calls.some((call) => call.state === 'ringing' && !call.earlyMedia) ? 'ringback' : undefined;
  }
}

/** What an event changes in the call it names. */
function apply<E extends keyof ServerEvents>(call: Call, name: E, payload: ServerEvents[E]): void {
  switch (name) {
    case 'call:ringing': {
      const { earlyMedia } = payload as ServerEvents['call:ringing'];
      call.earlyMedia = earlyMedia;
      call.state = earlyMedia ? 'early' : 'ringing';
      break;
    }
    case 'call:answered':
      call.codec = (payload as ServerEvents['call:answered']).codec;
      call.answeredAt = Date.now();
      call.state = 'answered';
      break;
    case 'call:held': {
      const { held, by } = payload as ServerEvents['call:held'];
      if (by === 'local') call.held = held;
      else call.heldByRemote = held;
      break;
    }
    case 'call:muted':
      call.muted = (payload as ServerEvents['call:muted']).muted;
      break;
    case 'call:dtmf-received':
      call.digits += (payload as ServerEvents['call:dtmf-received']).tone;
      break;
  }
}

// --- the page around a session

const ringer = new Ringer();
let session: Session | undefined;

let bothMeters: { mic: Meter; remote: Meter } | undefined;
function meters(): { mic: Meter; remote: Meter } {
  bothMeters ??= { mic: new Meter(element('meter-mic')), remote: new Meter(element('meter-remote')) };
  return bothMeters;
}

function show({ signedIn }: { signedIn: boolean }): void {
  view.signIn.hidden = signedIn;
  view.desk.hidden = view.who.hidden = view.signOut.hidden = !signedIn;
}

/** Tells the agent something that needs attention; the empty text takes it away. */
function say(text: string): void {
  view.alertText.textContent = text;
  view.alert.hidden = text === '';
}

function showStatus(what: 'gateway' | Side, state: 'on' | 'wait' | 'off', text: string): void {
  const item = element(`status-${what}`);
  item.dataset.state = state;
  item.querySelector('span')!.textContent = text;
}

/** Puts an ended call on the list of recent ones. */
function remind(call: Call, outcome: string, dial: (number: string) => void): void {
  const item = document.createElement('li');
  const text = document.createElement('span');
  const talked = call.answeredAt === undefined ? '' : ` · ${timeWords((Date.now() - call.answeredAt) / 1000)}`;
  text.textContent = `${call.inbound ? 'From' : 'To'} ${call.number} · ${outcome.replace(/\.$/, '')}${talked}`;
  const again = document.createElement('button');
  again.type = 'button';
  again.className = 'quiet';
  again.textContent = 'Call again';
  again.setAttribute('aria-label', `Call ${call.number} again`);
  again.addEventListener('click', () => dial(call.number));
  item.append(text, again);
  view.recent.prepend(item);
  while (view.recent.children.length > RECENT_MAX) view.recent.lastElementChild!.remove();
  view.recentTitle.hidden = false;
}

function signIn(identity: Identity): void {
  session?.end();
  say('');
  session = new Session(identity);
}

function signOut(): void {
  session?.end();
  session = undefined;
  sessionStorage.removeItem(STORE);
  show({ signedIn: false });
}

/** For a reload of this tab only: a token does not outlive it. */
function remember(identity: Identity): void {
  sessionStorage.setItem(STORE, JSON.stringify(identity));
}

/** From the address (`#agent=..&tenant=..&token=..`, a part that no server sees), else from before a reload. */
function knownIdentity(): Identity | undefined {
  const given = new URLSearchParams(location.hash.slice(1));
  const token = given.get('token') ?? '';
  const agentId = given.get('agent') ?? '';
  if (agentId || token) return { agentId, tenantId: given.get('tenant') ?? 'demo', token };
  const stored = sessionStorage.getItem(STORE);
  return stored ? (JSON.parse(stored) as Identity) : undefined;
}

function field(name: keyof Identity): HTMLInputElement {
  return view.signIn.elements.namedItem(name) as HTMLInputElement;
}

function start(): void {
  const attempt = (doing: Promise<void> | undefined) => doing?.catch((error) => say(ofError(error)));

  view.signIn.addEventListener('submit', (event) => {
    event.preventDefault();
    signIn({ agentId: field('agentId').value.trim(), tenantId: field('tenantId').value.trim(), token: field('token').value.trim() });
  });
  view.signOut.addEventListener('click', signOut);
  element('alert-close').addEventListener('click', () => say(''));
  element('dial').addEventListener('submit', (event) => {
    event.preventDefault();
    const number = view.number.value.trim();
    say(number ? '' : 'Enter a number first.');
    if (number) attempt(session?.dial(number).then(() => void (view.number.value = '')));
  });
  view.codec.addEventListener('change', () => attempt(session?.changeCodec()));

  for (const key of '123456789*0#') {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = key;
    button.setAttribute('aria-label', { '*': 'star', '#': 'hash' }[key] ?? key);
    button.addEventListener('click', () => attempt(session?.key(key)));
    element('pad').append(button);
  }

  const local = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  element('demo').hidden = !local;
  for (const [number, what] of DEMO_NUMBERS) {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'quiet';
    button.textContent = number;
    button.setAttribute('aria-label', `Dial ${number}: ${what}`);
    button.addEventListener('click', () => attempt(session?.dial(number)));
    const words = document.createElement('span');
    words.textContent = what;
    item.append(button, words);
    element('demo-numbers').append(item);
  }

  setInterval(() => session?.tick(), 1_000);
  // Browsers start sound only after a gesture, unless the microphone is open already.
  document.addEventListener('click', () => void (view.remote.srcObject && view.remote.play().catch(() => undefined)));

  const identity = knownIdentity();
  field('agentId').value = identity?.agentId ?? (local ? '1001' : '');
  field('tenantId').value = identity?.tenantId ?? (local ? 'demo' : '');
  field('token').value = identity?.token ?? '';
  if (identity) signIn(identity);
  else show({ signedIn: false });
}

start();
