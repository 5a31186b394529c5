import type { Meter } from '../sound';

/** How loud something is. */
export function Level({ label, meter, isOff = false }: { label: string; meter: Meter; isOff?: boolean }) {
  const level = isOff ? 0 : meter.level.value;
  return (
    <div class="level">
      <span aria-hidden="true">{label}</span>
      <div role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={level} aria-valuetext={isOff ? 'muted' : `${level} %`}>
        <i style={{ '--level': `${level}%` }} />
      </div>
    </div>
  );
}
