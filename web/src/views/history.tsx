import { PhoneIncoming, PhoneMissed, PhoneOutgoing } from 'lucide';
import { timeWords, who } from '../calls';
import { clear, history, type Past } from '../history';
import { dismiss, notify, now } from '../state';
import { Icon } from './icon';

export function History({ dial }: { dial: (number: string) => void }) {
  const clearAll = () => {
    const restore = clear();
    const undo = () => {
      restore();
      dismiss('history');
    };
    notify({ topic: 'history', kind: 'info', text: 'The history is cleared.', action: { label: 'Undo', run: undo } });
  };
  return (
    <section class="card history" aria-labelledby="history-title">
      <div class="title">
        <h2 id="history-title">History</h2>
        {history.value.length > 0 && (
          <button type="button" class="quiet" onClick={clearAll}>
            Clear
          </button>
        )}
      </div>
      {history.value.length === 0 && <p class="empty">Your last calls will be here. Click one to call again.</p>}
      <ol aria-labelledby="history-title">
        {history.value.map((past) => (
          <Entry key={past.id} past={past} dial={dial} />
        ))}
      </ol>
    </section>
  );
}

function Entry({ past, dial }: { past: Past; dial: (number: string) => void }) {
  const { inbound, number, outcome, talkedMs, at, missed } = past;
  const icon = missed ? PhoneMissed : inbound ? PhoneIncoming : PhoneOutgoing;
  return (
    <li>
      <button type="button" data-missed={missed} title={`Call ${number} again`} onClick={() => dial(number)}>
        <Icon of={icon} />
        <span class="unseen">Call again: {inbound ? 'from' : 'to'} </span>
        <b>{who(past)}</b>
        <time dateTime={new Date(at).toISOString()}>{when(at, now.value)}</time>
        <span class="outcome">
          {outcome}
          {talkedMs !== undefined && ` · ${timeWords(talkedMs)}`}
        </span>
      </button>
    </li>
  );
}

function when(at: number, today: number): string {
  const date = new Date(at);
  const time = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  const isToday = date.toDateString() === new Date(today).toDateString();
  return isToday ? time : `${date.toLocaleDateString([], { day: 'numeric', month: 'short' })} ${time}`;
}
