import type { Grade, Quality } from '../quality';

const WORDS: Record<Grade, string> = { unknown: 'Measuring', poor: 'Poor', fair: 'Fair', good: 'Good' };
const BARS: Record<Grade, number> = { unknown: 0, poor: 1, fair: 2, good: 4 };

/** How a call sounds: in a word, in bars, and in figures for whoever is asked to help. */
export function QualityBar({ quality }: { quality: Quality | undefined }) {
  const grade = quality?.grade ?? 'unknown';
  const { mos, lossPct, jitterMs, rttMs } = quality ?? {};
  const figures = [
    mos !== undefined && `MOS ${mos.toFixed(1)}`,
    lossPct !== undefined && `${lossPct.toFixed(lossPct > 0 && lossPct < 10 ? 1 : 0)} % lost`,
    jitterMs !== undefined && `${Math.round(jitterMs)} ms jitter`,
    rttMs !== undefined && `${Math.round(rttMs)} ms round trip`,
  ].filter((figure) => figure !== false);
  return (
    <div class="quality" data-grade={grade}>
      <p>
        <span class="bars" aria-hidden="true">
          {[1, 2, 3, 4].map((bar) => (
            <i key={bar} data-lit={bar <= BARS[grade]} />
          ))}
        </span>
        <span class="unseen">Sound quality: </span>
        <b>{WORDS[grade]}</b>
        {figures.length > 0 && <small>{figures.join(' · ')}</small>}
      </p>
      {quality?.faults.map((fault) => (
        <p key={fault} class="fault">
          {fault}
        </p>
      ))}
    </div>
  );
}
