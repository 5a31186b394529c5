import { KEYS } from '../sound';

const LETTERS: Record<string, string> = { 2: 'ABC', 3: 'DEF', 4: 'GHI', 5: 'JKL', 6: 'MNO', 7: 'PQRS', 8: 'TUV', 9: 'WXYZ' };
const NAMES: Record<string, string> = { '*': 'star', '#': 'hash' };

/** The twelve keys of a telephone. */
export function Pad({ label, press }: { label: string; press: (key: string) => void }) {
  return (
    <div class="pad" role="group" aria-label={label}>
      {KEYS.flatMap((row) => [...row]).map((key) => (
        <button key={key} type="button" aria-label={NAMES[key] ?? key} data-letters={LETTERS[key] ?? ''} onClick={() => press(key)}>
          {key}
        </button>
      ))}
    </div>
  );
}
