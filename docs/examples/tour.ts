import { createClient } from '@supabase/supabase-js';
import type { Database } from '../../types/database.ts';

const { URL: url = 'http://127.0.0.1:54321', KEY: publishableKey = '' } = process.env;
const supabase = createClient<Database>(url, publishableKey);
await supabase.auth.signInWithPassword({ email: 'eva@example.test', password: 'Secret-12345' });

const checkIn = await supabase.rpc('check_in', {
  checked_in_at: new Date().toISOString(),
  client_request_id: crypto.randomUUID(), // the same one when you retry
});
if (checkIn.error) throw checkIn.error; // {code, message, details, hint}
const { data: batch } = await supabase.rpc('record_locations', {
  points: [{ recorded_at: new Date().toISOString(), latitude: 46.05, longitude: 14.5, accuracy_m: 8 }],
});
await supabase.rpc('check_out', { checked_out_at: new Date().toISOString(), client_request_id: crypto.randomUUID() });

// Sessions with their people, newest first: Eva sees her own, an administrator everybody's.
// Relations are named for the role they play.
const { data: sessions } = await supabase
  .from('attendance_sessions')
  .select('checked_in_at, distance_m, employee(name)')
  .order('checked_in_at', { ascending: false })
  .limit(5);
console.log(batch?.inserted, 'point sent;', sessions);
