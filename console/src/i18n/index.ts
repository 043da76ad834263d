import { signal } from '@preact/signals';
import { en, type Messages } from './en.ts';

export type Language = 'en' | 'de';

export const language = signal<Language>('en');
const messages = signal<Messages>(en);

/** The texts of the language that is chosen; read inside a component, it follows a change. */
export const t = (): Messages => messages.value;

export async function speak(wanted: Language): Promise<void> {
  messages.value = wanted === 'de' ? (await import('./de.ts')).de : en;
  language.value = wanted;
  document.documentElement.lang = wanted;
  localStorage.setItem('fieldtrack.language', wanted);
}

export function preferredLanguage(): Language {
  const kept = localStorage.getItem('fieldtrack.language');
  if (kept === 'de' || kept === 'en') return kept;
  return navigator.language.startsWith('de') ? 'de' : 'en';
}
