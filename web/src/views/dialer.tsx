import { Delete, Phone } from 'lucide';
import { history } from '../history';
import { NUMBER_FIELD } from '../keyboard';
import { keyTone } from '../sound';
import { calls, demoNumbers, number } from '../state';
import { Icon } from './icon';
import { Pad } from './pad';

export function Dialer({ dial, maxCalls }: { dial: (number: string) => void; maxCalls: number }) {
  const submit = (event: Event) => {
    event.preventDefault();
    const last = history.value.find(({ inbound }) => !inbound);
    // As every telephone does it: without a number the key brings back the last one.
    if (!number.value.trim() && last && calls.value.length === 0) number.value = last.number;
    else dial(number.value);
  };
  const press = (key: string) => {
    keyTone(key);
    number.value += key;
  };
  return (
    <section class="card dialer" aria-labelledby="dial-title">
      <h2 id="dial-title">Dial</h2>
      <form onSubmit={submit}>
        <div class="number">
          <input
            id={NUMBER_FIELD}
            type="tel"
            inputMode="tel"
            autocomplete="off"
            spellcheck={false}
            aria-label="Number"
            placeholder="Number"
            value={number.value}
            onInput={(event) => (number.value = event.currentTarget.value)}
          />
          {number.value && (
            <button type="button" class="tool" aria-label="Delete the last digit" title="Delete the last digit" onClick={() => (number.value = number.value.slice(0, -1))}>
              <Icon of={Delete} />
            </button>
          )}
        </div>
        <Pad label="Number keys" press={press} />
        <button type="submit" class="go wide" disabled={calls.value.length >= maxCalls}>
          <Icon of={Phone} />
          Call
        </button>
      </form>
      {demoNumbers.value.length > 0 && <DemoNumbers dial={dial} />}
    </section>
  );
}

/** On a phone there is more to see below. */
const isWide = matchMedia('(min-width: 800px)');

function DemoNumbers({ dial }: { dial: (number: string) => void }) {
  return (
    <details class="demo" open={isWide.matches}>
      <summary>Numbers of the demo PBX</summary>
      <ul>
        {demoNumbers.value.map(({ number: demo, what }) => (
          <li key={demo}>
            <button type="button" aria-label={`Call ${demo}: ${what}`} onClick={() => dial(demo)}>
              <b>{demo}</b> {what}
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}
