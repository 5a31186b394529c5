// Dark or light: what the system says until the agent says otherwise.

import { computed, effect, signal } from '@preact/signals';
import { stored } from './stored';

type Theme = 'dark' | 'light';

const isTheme = (value: unknown): value is Theme | '' => value === 'dark' || value === 'light' || value === '';
const chosen = stored<Theme | ''>('theme', '', isTheme);

const system = matchMedia('(prefers-color-scheme: dark)');
const systemIsDark = signal(system.matches);
system.addEventListener('change', () => (systemIsDark.value = system.matches));

export const theme = computed<Theme>(() => chosen.value || (systemIsDark.value ? 'dark' : 'light'));

effect(() => {
  document.documentElement.dataset['theme'] = theme.value;
});

export function toggleTheme(): void {
  const other = theme.value === 'dark' ? 'light' : 'dark';
  // Whoever chooses what the system says follows it again.
  chosen.value = (other === 'dark') === systemIsDark.value ? '' : other;
}
