import { SHORTCUTS } from '../keyboard';
import { dialog, shortcuts } from '../state';
import { Check } from './audio';
import { Dialog } from './dialog';

export function HelpDialog() {
  return (
    <Dialog title="Keyboard" close={() => (dialog.value = undefined)}>
      <dl class="keys">
        {SHORTCUTS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <Check label="Use single keys (Shift + Esc and Enter always work)" flag={shortcuts} />
      <p class="hint">While you type in a field, its keys are its own.</p>
    </Dialog>
  );
}
