import { CircleAlert, Info, TriangleAlert, X, type IconNode } from 'lucide';
import { soundBlocked, unblock } from '../sound';
import { dismiss, notices, type Notice } from '../state';
import { Icon } from './icon';

const ICONS: Record<Notice['kind'], IconNode> = { error: CircleAlert, warning: TriangleAlert, info: Info };

const SILENCED: Notice = {
  topic: 'speaker',
  kind: 'warning',
  text: 'Your browser keeps this page silent until you use it.',
  advice: 'Turn the sound on, so that you hear your calls ring.',
  action: { label: 'Turn the sound on', run: unblock },
};

/** What needs the agent's attention. Some last as long as their reason does, and none hides another. */
export function Notices() {
  const all = soundBlocked.value ? [...notices.value, SILENCED] : notices.value;
  return (
    <div class="notices">
      {all.map((notice) => (
        <Card key={notice.topic} notice={notice} />
      ))}
    </div>
  );
}

function Card({ notice: { topic, kind, text, advice, action } }: { notice: Notice }) {
  return (
    <div class="notice" data-kind={kind} role={kind === 'info' ? 'status' : 'alert'}>
      <Icon of={ICONS[kind]} />
      <p>
        <b>{text}</b> {advice}
      </p>
      {action && (
        <button type="button" onClick={action.run}>
          {action.label}
        </button>
      )}
      {topic !== 'speaker' && (
        <button type="button" class="tool" aria-label="Dismiss" title="Dismiss" onClick={() => dismiss(topic)}>
          <Icon of={X} />
        </button>
      )}
    </div>
  );
}
