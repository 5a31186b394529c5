import { ArrowLeftRight, Forward, Grid3x3, Mic, MicOff, Pause, Phone, PhoneIncoming, PhoneOff, PhoneOutgoing, Play, type IconNode } from 'lucide';
import type { CallActions } from '../actions';
import { isAnswered, stateWords, timeWords, who, type Call } from '../calls';
import { meters } from '../sound';
import { now, panel, quality, shortcuts } from '../state';
import { Icon } from './icon';
import { Level } from './level';
import { Pad } from './pad';
import { QualityBar } from './quality';
import { Transfer } from './transfer';

interface Props {
  call: Call;
  actions: CallActions;
  /** On a phone its buttons are where the thumb is. */
  isForemost: boolean;
  /** There is one call talked on and one on hold. */
  canSwap: boolean;
}

export function CallCard({ call, actions, isForemost, canSwap }: Props) {
  const isTalking = isAnswered(call) && !call.held;
  const clock = call.answeredAt === undefined ? undefined : timeWords(now.value - call.answeredAt);
  return (
    <article class="card call" data-state={call.held ? 'held' : call.state} data-foremost={isForemost} aria-label={`${call.inbound ? 'Call from' : 'Call to'} ${who(call)}`}>
      <div class="call-head">
        <span class="badge">
          <Icon of={call.held ? Pause : call.inbound ? PhoneIncoming : PhoneOutgoing} />
        </span>
        <div class="party">
          <h3>{call.name ?? call.number}</h3>
          <p>
            {call.inbound ? 'Incoming' : 'Outgoing'}
            {call.name && call.name !== call.number && ` · ${call.number}`}
            {call.codec && isTalking && <span class="codec"> · {call.codec}</span>}
          </p>
        </div>
        <div class="standing">
          {clock && <span class="clock">{clock}</span>}
          <p class="state">{stateWords(call)}</p>
        </div>
      </div>
      {isTalking && (
        <div class="figures">
          <QualityBar quality={quality.value.get(call.id)} />
          <div class="levels">
            <Level label="You" meter={meters.you} isOff={call.muted} />
            <Level label="Caller" meter={meters.caller} />
          </div>
        </div>
      )}
      {isForemost && isTalking && panel.value === 'keypad' && (
        <div class="panel">
          <Pad label="Tones" press={(key) => actions.key(call, key)} />
        </div>
      )}
      {isForemost && isTalking && panel.value === 'transfer' && <Transfer call={call} transfer={(target) => actions.transfer(call, target)} />}
      {isTalking && (call.digitsSent || call.digitsReceived) && (
        <p class="digits">
          {call.digitsSent && <span>Sent {call.digitsSent}</span>} {call.digitsReceived && <span>Received {call.digitsReceived}</span>}
        </p>
      )}
      <div class="controls">
        <Controls call={call} actions={actions} isForemost={isForemost} canSwap={canSwap} />
      </div>
    </article>
  );
}

function Controls({ call, actions, isForemost, canSwap }: Props) {
  const isTalking = isAnswered(call) && !call.held;
  const end = () => actions.end(call);
  // Keys act on the foremost call, and on the one talked on.
  const endKey = isForemost ? { hotkey: 'Shift+Escape' } : {};
  if (call.state === 'incoming') {
    return (
      <>
        <Control icon={Phone} label="Answer" {...(isForemost && { hotkey: 'A' })} look="go" run={() => actions.answer(call)} />
        <Control icon={PhoneOff} label="Decline" {...endKey} look="stop" run={end} />
      </>
    );
  }
  return (
    <>
      {isTalking && (
        <>
          <Control icon={call.muted ? MicOff : Mic} label={call.muted ? 'Unmute' : 'Mute'} hotkey="M" isOn={call.muted} run={() => actions.mute(call)} />
          <Control icon={Pause} label="Hold" hotkey="H" run={() => actions.hold(call)} />
          <Control icon={Grid3x3} label="Keypad" hotkey="K" isOpen={panel.value === 'keypad'} run={() => toggle('keypad')} />
          <Control icon={Forward} label="Transfer" hotkey="T" isOpen={panel.value === 'transfer'} run={() => toggle('transfer')} />
        </>
      )}
      {isAnswered(call) && call.held && (
        <Control
          icon={canSwap ? ArrowLeftRight : Play}
          label={canSwap ? 'Swap' : 'Resume'}
          {...(canSwap ? { hotkey: 'S' } : isForemost && { hotkey: 'H' })}
          look="go"
          run={() => actions.hold(call)}
        />
      )}
      <Control icon={PhoneOff} label={isAnswered(call) ? 'Hang up' : 'Cancel'} {...endKey} look="stop" run={end} />
    </>
  );
}

function toggle(wanted: 'keypad' | 'transfer'): void {
  panel.value = panel.value === wanted ? undefined : wanted;
}

interface ControlProps {
  icon: IconNode;
  label: string;
  hotkey?: string;
  look?: 'go' | 'stop';
  isOn?: boolean;
  /** Of a button that opens something. */
  isOpen?: boolean;
  run: () => void;
}

function Control({ icon, label, hotkey, look, isOn, isOpen, run }: ControlProps) {
  // Single keys only as long as they are on.
  const key = hotkey && (shortcuts.value || hotkey.length > 1) ? hotkey : undefined;
  return (
    <button
      type="button"
      class={`control ${look ?? ''}`}
      data-on={isOn || isOpen}
      {...(isOpen !== undefined && { 'aria-expanded': isOpen })}
      {...(key && { 'aria-keyshortcuts': key })}
      onClick={run}
    >
      <Icon of={icon} />
      <span>{label}</span>
      {key && <kbd aria-hidden="true">{key.replace('Shift+Escape', '⇧Esc')}</kbd>}
    </button>
  );
}
