import { useEffect, useRef, useState } from 'preact/hooks';
import type { Call } from '../calls';
import { panel } from '../state';

/** Sends the other side to somebody else and leaves the call. */
export function Transfer({ call, transfer }: { call: Call; transfer: (target: string) => void }) {
  const [target, setTarget] = useState('');
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const isUnderWay = call.transferringTo !== undefined;
  const submit = (event: Event) => {
    event.preventDefault();
    transfer(target);
  };
  return (
    <form class="panel transfer" aria-label="Transfer" onSubmit={submit}>
      <input
        ref={field}
        type="tel"
        autocomplete="off"
        aria-label="Transfer to"
        placeholder="Transfer to"
        value={target}
        readOnly={isUnderWay}
        onInput={(event) => setTarget(event.currentTarget.value)}
      />
      <button type="submit" class="go" disabled={isUnderWay}>
        Transfer now
      </button>
      <button type="button" onClick={() => (panel.value = undefined)}>
        Close
      </button>
    </form>
  );
}
