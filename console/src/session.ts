import { computed, effect, signal } from '@preact/signals';
import type { Answers } from '../../types/answers.ts';
import { ask, auth, type Refusal, refusalOf, rest } from './api.ts';

export type Profile = Answers['get_my_profile'];

type State =
  | { is: 'starting' }
  | { is: 'signed out'; why?: 'ended' }
  | { is: 'stranger'; email: string }
  | { is: 'member'; profile: Profile }
  | { is: 'refused'; refusal: Refusal };

export const session = signal<State>({ is: 'starting' });
export const profile = computed(() => (session.value.is === 'member' ? session.value.profile : undefined));
export const isAdmin = computed(() => profile.value?.app_role === 'ADMIN');
export const zone = computed(() => profile.value?.organization.time_zone ?? 'UTC');

let userId: string | undefined;

/** Follows who is signed in, in this tab and in the others: auth-js tells all tabs of a browser. */
export function followSession(): void {
  auth.onAuthStateChange((event, current) => {
    // auth-js holds its lock while it tells us, so what calls it comes after.
    setTimeout(() => {
      if (!current) {
        const wasMember = session.peek().is === 'member';
        userId = undefined;
        session.value =
          event === 'SIGNED_OUT' && wasMember && !isLeaving ? { is: 'signed out', why: 'ended' } : { is: 'signed out' };
        isLeaving = false;
        return;
      }
      const isSame = current.user.id === userId && session.peek().is !== 'refused';
      userId = current.user.id;
      if (!isSame) void readProfile(current.user.email ?? '');
    }, 0);
  });
}

let isLeaving = false;

export async function signOut(): Promise<void> {
  isLeaving = true;
  await auth.signOut({ scope: 'local' });
}

export async function readProfile(email?: string): Promise<void> {
  try {
    session.value = { is: 'member', profile: await ask(rest.rpc('get_my_profile')) };
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.code === 'not_a_member') {
      const address = email ?? (await auth.getSession()).data.session?.user.email ?? '';
      session.value = { is: 'stranger', email: address };
    } else session.value = { is: 'refused', refusal };
  }
}

/** True while the browser has a network. */
export const online = signal(navigator.onLine);
addEventListener('online', () => {
  online.value = true;
  if (session.peek().is === 'refused') void readProfile();
});
addEventListener('offline', () => {
  online.value = false;
});

effect(() => {
  document.title = profile.value ? `${profile.value.organization.name} · FieldTrack` : 'FieldTrack';
});
