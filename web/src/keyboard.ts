// Everything of a call by the keyboard. Single keys only where nobody types, and not at all if the agent wants none (WCAG 2.1.4).

import { foremost, isAnswered, type Call } from './calls';
import { calls, dialog, number, panel, shortcuts, talkingCall } from './state';

export interface Controls {
  answer(call: Call): void;
  end(call: Call): void;
  hold(call: Call): void;
  mute(call: Call): void;
  key(call: Call, key: string): void;
}

/** What the help lists. */
export const SHORTCUTS: readonly [keys: string, what: string][] = [
  ['0–9 * # +', 'Type a number; with the keypad open, send tones'],
  ['Enter', 'Dial the number'],
  ['A', 'Answer'],
  ['Shift + Esc', 'Hang up or decline'],
  ['M', 'Mute and unmute'],
  ['H', 'Hold and resume'],
  ['S', 'Swap between two calls'],
  ['K', 'Open and close the keypad'],
  ['T', 'Transfer'],
  ['?', 'Show this help'],
];

export const NUMBER_FIELD = 'number';

export function listenToKeys(controls: Controls): void {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || dialog.value) return;
    if (act(event, controls)) event.preventDefault();
  });
  // A number that was copied elsewhere can be pasted anywhere.
  document.addEventListener('paste', (event) => {
    const text = event.clipboardData?.getData('text/plain').trim() ?? '';
    if (isTyping(event.target) || dialog.value || !text) return;
    event.preventDefault();
    number.value = text;
    document.getElementById(NUMBER_FIELD)?.focus();
  });
}

/** Whether the key meant something. */
function act(event: KeyboardEvent, controls: Controls): boolean {
  const call = foremost(calls.value);
  if (event.key === 'Escape') {
    // By itself it only closes what is open: nobody shall end a call by accident.
    if (event.shiftKey && call) controls.end(call);
    else if (panel.value) panel.value = undefined;
    else return false;
    return true;
  }
  if (!shortcuts.value || isTyping(event.target)) return false;
  if (/^[0-9*#+]$/.test(event.key)) return digit(event.key, controls);
  const answered = call && isAnswered(call) ? call : talkingCall.value;
  switch (event.key.toLowerCase()) {
    case '?':
      dialog.value = 'help';
      return true;
    case 'a':
      return call?.state === 'incoming' && did(controls.answer(call));
    case 'h':
      return answered !== undefined && did(controls.hold(answered));
    case 'm':
      return answered !== undefined && did(controls.mute(answered));
    case 's': {
      const other = talkingCall.value && calls.value.find((each) => isAnswered(each) && each.held);
      return other !== undefined && did(controls.hold(other));
    }
    case 'k':
    case 't': {
      const wanted = event.key.toLowerCase() === 'k' ? 'keypad' : 'transfer';
      if (!talkingCall.value) return false;
      panel.value = panel.value === wanted ? undefined : wanted;
      return true;
    }
    default:
      return false;
  }
}

function did(_done: void): true {
  return true;
}

/** To the call while its keypad is open, else to the number, where Enter then dials it. */
function digit(key: string, controls: Controls): boolean {
  if (panel.value === 'keypad' && talkingCall.value) {
    if (key !== '+') controls.key(talkingCall.value, key);
  } else {
    number.value += key;
    document.getElementById(NUMBER_FIELD)?.focus();
  }
  return true;
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches('input:not([type=checkbox], [type=radio]), textarea, select'));
}
