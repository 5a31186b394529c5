// Getting the agent's attention: the ring, the page's title, and a notification where the page cannot be seen.

import { effect, signal } from '@preact/signals';
import { isAnswered, timeWords, who, type Call } from './calls';
import { ring, type Ring } from './sound';
import { calls, now, talkingCall } from './state';

const NAME = 'NexusDialer';

/** `unsupported` where the browser has none. */
export const notifications = signal<NotificationPermission | 'unsupported'>('Notification' in window ? Notification.permission : 'unsupported');

/** Asks the agent; browsers want this to follow a click. */
export async function allowNotifications(): Promise<void> {
  notifications.value = await Notification.requestPermission();
}

export function startRinging(answer: (call: Call) => void): void {
  effect(() => ring(wanted(calls.value)));
  effect(() => void (document.title = title()));
  let shown = new Map<string, Notification | undefined>();
  effect(() => {
    const incoming = calls.value.filter(({ state }) => state === 'incoming');
    // Those that ring no longer are taken away, those that are new are shown.
    for (const [id, notification] of shown) if (!incoming.some((call) => call.id === id)) notification?.close();
    shown = new Map(incoming.map((call) => [call.id, shown.has(call.id) ? shown.get(call.id) : show(call, answer)]));
  });
}

function wanted(all: readonly Call[]): Ring | undefined {
  // An agent who has been put on hold still listens.
  const busy = all.some((call) => isAnswered(call) && !call.held);
  if (all.some(({ state, autoAnswer }) => state === 'incoming' && !autoAnswer)) return busy ? 'waiting' : 'incoming';
  return !busy && all.some(({ state }) => state === 'ringing') ? 'ringback' : undefined;
}

/** Flashes once a second while a call comes in, and shows the clock of one that is talked on. */
function title(): string {
  const incoming = calls.value.find(({ state }) => state === 'incoming');
  if (incoming && Math.floor(now.value / 1000) % 2 === 0) return `Incoming call: ${who(incoming)}`;
  const call = talkingCall.value;
  return call?.answeredAt === undefined ? NAME : `${timeWords(now.value - call.answeredAt)} ${who(call)} - ${NAME}`;
}

function show(call: Call, answer: (call: Call) => void): Notification | undefined {
  if (notifications.value !== 'granted' || document.hasFocus()) return undefined;
  try {
    const notification = new Notification(`Incoming call: ${who(call)}`, { body: 'Click to answer', tag: call.id, requireInteraction: true });
    notification.addEventListener('click', () => {
      window.focus();
      notification.close();
      answer(call);
    });
    return notification;
  } catch {
    // Browsers of mobile phones show none for a page: it rings all the same.
    return undefined;
  }
}
