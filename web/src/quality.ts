// How good a call sounds, from the gateway's figures of both its legs.

import type { Leg, QualityReport, QualityWarning, Stream, WarningName } from './protocol';
import { WARNINGS } from './words';

export type Grade = 'unknown' | 'poor' | 'fair' | 'good';

/** The worse leg counts. */
export interface Quality {
  grade: Grade;
  mos?: number;
  lossPct?: number;
  jitterMs?: number;
  rttMs?: number;
  /** What is wrong, and on which side, in words. */
  faults: string[];
}

interface Figures {
  mos?: number;
  lossPct?: number;
  jitterMs?: number;
  rttMs?: number;
}

/** Thresholds of the wire contract's warnings. */
const RTT_MS = 400;
const JITTER_MS = 30;
const LOSS_PCT = 3;

/** E-model: most users are satisfied from 4.0 on, and many dissatisfied below 3.1 (ITU-T G.107 annex B). */
const GOOD_MOS = 4;
const FAIR_MOS = 3.1;

const SIDES: Record<Leg['leg'], string> = { webrtc: 'Your network', sip: 'Telephone line' };

/** The figures of one call as they come in: by reports, or by counters asked for again and again. */
export class QualityWatch {
  private readonly figures = new Map<Leg['leg'], Figures>();
  private readonly warnings = new Map<string, QualityWarning>();
  private counters = new Map<string, Stream>();
  private reportedAt = 0;

  /** Whether the gateway tells by itself, so that nobody has to ask. */
  isReported(now: number): boolean {
    return now - this.reportedAt < 12_000;
  }

  report({ leg, mos, lossPct, jitterMs, rttMs }: QualityReport, now: number): void {
    this.reportedAt = now;
    this.figures.set(leg, known({ mos, lossPct, jitterMs, rttMs }));
  }

  warn(warning: QualityWarning, raised: boolean): void {
    const key = `${warning.leg} ${warning.name}`;
    if (raised) this.warnings.set(key, warning);
    else this.warnings.delete(key);
  }

  /** Answers of `webrtc:get-stats`: what was lost is counted from the answer before. */
  count(legs: Leg[]): void {
    const counters = new Map<string, Stream>();
    for (const { leg, received, sent, mos, rttMs } of legs) {
      const losses: number[] = [];
      for (const [way, stream] of Object.entries({ received, sent })) {
        counters.set(`${leg} ${way}`, stream);
        const before = this.counters.get(`${leg} ${way}`);
        const packets = stream.packets - (before?.packets ?? stream.packets);
        const lost = Math.max(0, stream.lost - (before?.lost ?? stream.lost));
        if (packets + lost > 0) losses.push((100 * lost) / (packets + lost));
      }
      const jitters = [received.jitterMs, sent.jitterMs].filter((jitter) => jitter !== null);
      const jitterMs = jitters.length > 0 ? Math.max(...jitters) : null;
      this.figures.set(leg, known({ mos, rttMs, jitterMs, lossPct: losses.length > 0 ? Math.max(...losses) : null }));
    }
    this.counters = counters;
  }

  /** What to show. */
  get quality(): Quality {
    const all = [...this.figures.values()];
    const pick = (name: keyof Figures, of: (...values: number[]) => number) => {
      const values = all.map((figures) => figures[name]).filter((value) => value !== undefined);
      return values.length > 0 ? { [name]: of(...values) } : {};
    };
    const worst: Figures = { ...pick('mos', Math.min), ...pick('lossPct', Math.max), ...pick('jitterMs', Math.max), ...pick('rttMs', Math.max) };
    return { ...worst, ...this.judge(worst.mos) };
  }

  private judge(mos: number | undefined): { grade: Grade; faults: string[] } {
    const faults = new Map<string, WarningName>();
    for (const [leg, figures] of this.figures) {
      for (const name of faultsOf(figures)) faults.set(`${leg} ${name}`, name);
    }
    for (const [key, { name }] of this.warnings) faults.set(key, name);
    const words = [...faults].map(([key, name]) => `${SIDES[key.split(' ')[0] as Leg['leg']]}: ${WARNINGS[name]}`);
    const names = [...faults.values()];
    const hopeless = names.some((name) => name === 'low-mos' || name.includes('audio'));
    if (hopeless || (mos !== undefined && mos < FAIR_MOS)) return { grade: 'poor', faults: words };
    if (names.length > 0 || (mos !== undefined && mos < GOOD_MOS)) return { grade: 'fair', faults: words };
    return { grade: mos === undefined ? 'unknown' : 'good', faults: words };
  }
}

function faultsOf({ lossPct, jitterMs, rttMs }: Figures): WarningName[] {
  const names: WarningName[] = [];
  if ((lossPct ?? 0) > LOSS_PCT) names.push('high-packet-loss');
  if ((jitterMs ?? 0) > JITTER_MS) names.push('high-jitter');
  if ((rttMs ?? 0) > RTT_MS) names.push('high-rtt');
  return names;
}

function known(figures: Record<keyof Figures, number | null>): Figures {
  return Object.fromEntries(Object.entries(figures).filter(([, value]) => value !== null));
}
