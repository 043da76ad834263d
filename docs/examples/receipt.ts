import { createClient } from '@supabase/supabase-js';
import type { Database } from '../../types/database.ts';

const { URL: url = 'http://127.0.0.1:54321', KEY: publishableKey = '' } = process.env;
async function signIn(email: string) {
  const client = createClient<Database>(url, publishableKey, { auth: { storageKey: email } });
  const { data, error } = await client.auth.signInWithPassword({ email, password: 'Secret-12345' });
  if (error) throw error;
  return { client, token: data.session.access_token };
}
const { client: ada, token } = await signIn('ada@example.test');
const { client: eva } = await signIn('eva@example.test');

// Ada listens by Realtime: only administrators may join. The message names the event; what it is about is read from `events`.
const { data: profile } = await ada.rpc('get_my_profile').throwOnError();
const channel = ada.channel(`org:${profile.organization.id}`, { config: { private: true } });
const heard = new Promise<string>((resolve) => {
  channel.on('broadcast', { event: 'expense.submitted' }, ({ payload }) => resolve(payload.id));
});
await new Promise<void>((resolve, reject) => {
  channel.subscribe((state, error) => (state === 'SUBSCRIBED' ? resolve() : reject(error ?? new Error(state))));
});

// And by the live stream, which loses nothing and brings the whole event.
const stream = await fetch(`${url}/functions/v1/admin-events?types=expense.submitted`, {
  headers: { authorization: `Bearer ${token}` },
});
const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
async function nextEvent(text = ''): Promise<string> {
  const [, data] = /^event: expense\.submitted\ndata: (.*)$/m.exec(text) ?? [];
  return data ?? nextEvent(text + ((await reader?.read())?.value ?? ''));
}

// Eva claims her parking: the database names the path, Storage takes the file there, the claim refers to it.
const { data: place } = await eva.rpc('create_receipt_path', { extension: 'pdf' }).throwOnError();
const file = new Blob(['%PDF-1.7\n'], { type: place.mime_type });
const { error } = await eva.storage.from(place.bucket).upload(place.path, file);
if (error) throw error;
const claim = {
  amount: 12.5,
  description: 'Parking',
  receipt_path: place.path,
  client_request_id: crypto.randomUUID(),
};
await eva.rpc('submit_expense', claim).throwOnError();

console.log('by Realtime:', await heard);
console.log('by the stream:', await nextEvent());
const { data: receipt } = await ada.storage.from(place.bucket).createSignedUrl(place.path, 60); // opens without a header
console.log('the receipt:', (await fetch(`${receipt?.signedUrl}`)).status);

await reader?.cancel();
await ada.removeAllChannels();
