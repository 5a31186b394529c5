// Signals that outlive the page.

import { effect, signal, type Signal } from '@preact/signals';

/** A signal kept under `name`. What cannot be read, or is not of this shape, is the default. */
export function stored<T>(name: string, initial: T, isOne: (value: unknown) => value is T, store: Storage = localStorage): Signal<T> {
  const kept = signal(read(name, isOne, store) ?? initial);
  effect(() => {
    const text = JSON.stringify(kept.value);
    try {
      store.setItem(PREFIX + name, text);
    } catch {
      // Full or forbidden: it is then forgotten with the page.
    }
  });
  return kept;
}

function read<T>(name: string, isOne: (value: unknown) => value is T, store: Storage): T | undefined {
  try {
    const value: unknown = JSON.parse(store.getItem(PREFIX + name) ?? 'null');
    return isOne(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export const isText = (value: unknown): value is string => typeof value === 'string';
export const isFlag = (value: unknown): value is boolean => typeof value === 'boolean';

const PREFIX = 'nexus-agent.';
