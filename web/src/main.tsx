// The agent page: finds out who the agent is, signs in, and joins the state to the views.

import { effect, signal } from '@preact/signals';
import { render } from 'preact';
import { askService, forgetIdentity, knownIdentity } from './identity';
import { listenToKeys } from './keyboard';
import type { Identity } from './protocol';
import { startRinging } from './ringing';
import { Session } from './session';
import { unblock } from './sound';
import { calls, demoNumbers, devSignIn, notify, now, server, stage, tokenWanted } from './state';
import { App } from './views/app';

const session = signal<Session | undefined>(undefined);

function signIn(identity: Identity): void {
  session.peek()?.end();
  session.value = new Session(identity);
}

/** Nobody shall be left on the line: a call that its agent leaves lives on for a while. */
function signOut(): void {
  tokenWanted.value = false;
  if (calls.value.length > 0 && server.value === 'connected') {
    const action = { label: 'Hang up and sign out', run: hangUpAndSignOut };
    return notify({ topic: 'call', kind: 'warning', text: 'You have a call.', advice: 'Signing out ends it.', action });
  }
  leave();
}

function hangUpAndSignOut(): void {
  for (const call of calls.value) session.peek()?.actions.end(call);
  leave();
}

function leave(): void {
  session.peek()?.end();
  session.value = undefined;
  forgetIdentity();
  stage.value = 'signed-out';
}

async function start(): Promise<void> {
  const root = document.getElementById('page');
  if (root) render(<App session={session} signIn={signIn} signOut={signOut} />, root);

  listenToKeys({
    answer: (call) => session.peek()?.actions.answer(call),
    end: (call) => session.peek()?.actions.end(call),
    hold: (call) => session.peek()?.actions.hold(call),
    mute: (call) => session.peek()?.actions.mute(call),
    key: (call, key) => session.peek()?.actions.key(call, key),
  });
  startRinging((call) => session.peek()?.actions.answer(call));
  for (const gesture of ['pointerdown', 'keydown']) document.addEventListener(gesture, unblock, { passive: true });
  setInterval(() => (now.value = Date.now()), 1_000);
  // Leaving is harmless for a call, but hardly meant.
  const keep = (event: BeforeUnloadEvent) => event.preventDefault();
  effect(() => (calls.value.length > 0 ? addEventListener : removeEventListener)('beforeunload', keep));

  const service = await askService();
  demoNumbers.value = service?.demoNumbers ?? [];
  devSignIn.value = service?.signIn === 'dev';
  const identity = knownIdentity(devSignIn.value);
  if (identity) signIn(identity);
  else stage.value = 'signed-out';
}

void start();
