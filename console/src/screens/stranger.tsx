import { useSignal } from '@preact/signals';
import { ask, auth, type Refusal, refusalOf, rest } from '../api.ts';
import { t } from '../i18n/index.ts';
import { go, route } from '../router.ts';
import { readProfile, signOut } from '../session.ts';
import { RefusalNote } from '../ui/kit.tsx';
import { Gate } from './sign-in.tsx';

/** Somebody signed in who belongs to no organization: takes an invitation, or founds one. */
export function Stranger({ email }: { email: string }) {
  const { path } = route.value;
  const refusal = useSignal<Refusal | undefined>(undefined);
  const isFounding = useSignal(false);
  const attempt = (work: (form: FormData) => Promise<unknown>) => async (event: SubmitEvent) => {
    event.preventDefault();
    refusal.value = undefined;
    try {
      await work(new FormData(event.target as HTMLFormElement));
      // The new claims belong into the token; what is shown comes from the API.
      await auth.refreshSession();
      await readProfile(email);
      go('');
    } catch (error) {
      refusal.value = refusalOf(error);
    }
  };
  const join = attempt((form) => ask(rest.rpc('accept_invitation', { token: tokenOf(String(form.get('token'))) })));
  const found = attempt((form) => {
    const name = String(form.get('name'));
    return ask(
      rest.rpc('create_organization', {
        name,
        slug: slugOf(name),
        time_zone: String(form.get('zone')),
        currency: String(form.get('currency')),
      }),
    );
  });
  return (
    <Gate>
      <main class="card form">
        {isFounding.value ? (
          <form onSubmit={(event) => void found(event)}>
            <h1>{t().foundTitle}</h1>
            <label class="field">
              <span>{t().organizationName}</span>
              <input name="name" required maxLength={100} />
            </label>
            <label class="field">
              <span>{t().timeZone}</span>
              <select name="zone">
                {Intl.supportedValuesOf('timeZone').map((name) => (
                  <option key={name} selected={name === Intl.DateTimeFormat().resolvedOptions().timeZone}>
                    {name}
                  </option>
                ))}
              </select>
            </label>
            <label class="field">
              <span>{t().currency}</span>
              <input name="currency" required defaultValue="EUR" pattern="[A-Z]{3}" maxLength={3} />
            </label>
            {refusal.value && <RefusalNote refusal={refusal.value} />}
            <button type="submit" class="button primary wide">
              {t().found}
            </button>
            <button
              type="button"
              class="link"
              onClick={() => {
                isFounding.value = false;
              }}
            >
              {t().haveInvitation}
            </button>
          </form>
        ) : (
          <form onSubmit={(event) => void join(event)}>
            <h1>{t().joinTitle}</h1>
            <p class="prose">{t().joinLead(email)}</p>
            <label class="field">
              <span>{t().invitation}</span>
              <input
                name="token"
                required
                defaultValue={path[0] === 'join' ? (path[1] ?? '') : ''}
                placeholder="fti_…"
                autocomplete="off"
              />
            </label>
            {refusal.value && <RefusalNote refusal={refusal.value} />}
            <button type="submit" class="button primary wide">
              {t().join}
            </button>
            <button
              type="button"
              class="link"
              onClick={() => {
                isFounding.value = true;
              }}
            >
              {t().foundInstead}
            </button>
          </form>
        )}
        <button type="button" class="link" onClick={() => void signOut()}>
          {t().signOut}
        </button>
      </main>
    </Gate>
  );
}

/** People paste the whole link. */
const tokenOf = (text: string): string => /fti_[\w-]+/.exec(text)?.[0] ?? text.trim();

function slugOf(name: string): string {
  const plain = name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40);
  return `${plain || 'org'}-${crypto.randomUUID().slice(0, 4)}`;
}
