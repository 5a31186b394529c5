import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { PhoneCall } from 'lucide';
import type { CallActions } from '../actions';
import { byWeight, foremost, isAnswered } from '../calls';
import { calls, microphone, server, shortcuts, sound, talkingCall } from '../state';
import { CallCard } from './call-card';
import { Icon } from './icon';

export function Calls({ actions }: { actions: CallActions }) {
  const first = foremost(calls.value);
  // On a phone one may be reading the history when a call comes.
  useEffect(() => {
    if (first) window.scrollTo({ top: 0 });
  }, [first?.id]);
  const all = byWeight(calls.value);
  const section = useKeptFocus();
  const canSwap = talkingCall.value !== undefined && all.some((call) => isAnswered(call) && call.held);
  return (
    <section ref={section} class="calls" aria-labelledby="calls-title" tabIndex={-1}>
      <h2 id="calls-title" class="unseen">
        Calls
      </h2>
      {all.map((call) => (
        <CallCard key={call.id} call={call} actions={actions} isForemost={call === first} canSwap={canSwap} />
      ))}
      {all.length === 0 && <Idle />}
    </section>
  );
}

/** A button that had the focus may go with its call, or become another one: whoever uses the keyboard stays here and is not sent to the top. */
function useKeptFocus(): RefObject<HTMLElement | null> {
  const section = useRef<HTMLElement>(null);
  const wasInside = useRef(false);
  useEffect(() => {
    const moved = ({ target }: FocusEvent) => (wasInside.current = section.current?.contains(target as Node) ?? false);
    document.addEventListener('focusin', moved);
    return () => document.removeEventListener('focusin', moved);
  }, []);
  useEffect(() => {
    if (!wasInside.current || document.activeElement !== document.body) return;
    const next = section.current?.querySelector<HTMLElement>('[data-foremost=true] .controls button');
    (next ?? section.current)?.focus();
  });
  return section;
}

/** Nobody to talk to: whether the telephone works, and how it is used. */
function Idle() {
  const isReady = server.value === 'connected' && microphone.value === 'on' && sound.value === 'connected';
  const isStuck = microphone.value === 'unusable' || sound.value === 'failed' || server.value === 'off';
  const [headline, advice] = isReady
    ? ['Ready for calls', 'Dial a number, or wait for a call.']
    : isStuck
      ? ['Not ready for calls', 'The message on this page says what to do.']
      : ['Getting ready', microphone.value === 'asking' ? 'Allow the microphone when your browser asks.' : 'This takes a moment.'];
  return (
    <div class="card idle" data-ready={isReady}>
      <span class="badge">
        <Icon of={PhoneCall} />
      </span>
      <p class="headline">{headline}</p>
      <p>{advice}</p>
      {shortcuts.value && isReady && (
        <p class="hint">
          Type a number anywhere and press <kbd>Enter</kbd> · <kbd>?</kbd> shows all keys
        </p>
      )}
    </div>
  );
}
