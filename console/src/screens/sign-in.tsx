import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { auth, Refusal } from '../api.ts';
import { language, speak, t } from '../i18n/index.ts';
import { route } from '../router.ts';
import { RefusalNote } from '../ui/kit.tsx';

export function Gate({ children }: { children: ComponentChildren }) {
  return (
    <div class="gate">
      <div class="gate-mark">
        <img src="./icon.svg" alt="" width={44} height={44} />
        <strong>FieldTrack</strong>
      </div>
      {children}
      <p class="gate-foot">
        {(['en', 'de'] as const).map((code) => (
          <button
            key={code}
            type="button"
            class="link"
            aria-pressed={language.value === code}
            onClick={() => void speak(code)}
          >
            {{ en: 'English', de: 'Deutsch' }[code]}
          </button>
        ))}
      </p>
    </div>
  );
}

export function Unconfigured({ why }: { why: string }) {
  return (
    <Gate>
      <main class="card form">
        <h1>{t().unconfigured}</h1>
        <p class="prose">{why}</p>
        <pre>{'{ "url": "https://REF.supabase.co",\n  "publishableKey": "sb_publishable_…" }'}</pre>
      </main>
    </Gate>
  );
}

export function SignIn({ ended }: { ended: boolean }) {
  const isInvited = route.value.path[0] === 'join';
  const isNew = useSignal(isInvited);
  const isBusy = useSignal(false);
  const isMailed = useSignal(false);
  const refusal = useSignal<Refusal | undefined>(undefined);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const credentials = { email: String(form.get('email')), password: String(form.get('password')) };
    isBusy.value = true;
    refusal.value = undefined;
    const { data, error } = isNew.value ? await auth.signUp(credentials) : await auth.signInWithPassword(credentials);
    isBusy.value = false;
    if (error) {
      const isOffline = error.name === 'AuthRetryableFetchError';
      refusal.value = new Refusal({ code: isOffline ? 'offline' : (error.code ?? error.name), message: error.message });
    } else if (!data.session) isMailed.value = true;
  };
  return (
    <Gate>
      <main class="card form">
        <form onSubmit={(event) => void submit(event)}>
          <h1>{isNew.value ? t().createAccount : t().signIn}</h1>
          {ended && !isNew.value && <p class="note warn">{t().sessionEnded}</p>}
          {isInvited && <p class="prose">{t().invitedLead}</p>}
          {isMailed.value && <p class="note">{t().confirmMail}</p>}
          <label class="field">
            <span>{t().email}</span>
            <input name="email" type="email" required autocomplete="username" />
          </label>
          <label class="field">
            <span>{t().password}</span>
            <input
              name="password"
              type="password"
              required
              minLength={8}
              autocomplete={isNew.value ? 'new-password' : 'current-password'}
            />
          </label>
          {refusal.value && <RefusalNote refusal={refusal.value} />}
          <button type="submit" class="button primary wide" disabled={isBusy.value}>
            {isBusy.value ? t().working : isNew.value ? t().createAccount : t().signIn}
          </button>
          <button
            type="button"
            class="link"
            onClick={() => {
              isNew.value = !isNew.value;
              refusal.value = undefined;
            }}
          >
            {isNew.value ? t().haveAccount : t().noAccount}
          </button>
        </form>
      </main>
    </Gate>
  );
}
