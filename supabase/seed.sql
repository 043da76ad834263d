-- The demo organization that `supabase start` and `supabase db reset` begin with: what `npm run demo` founds, with people you
-- can sign in as. Ada Admin (ada@demo.example) and Eva Employee (eva@demo.example) have the password Demo-12345; Eva walked
-- around Ljubljana for an hour, claims her parking, and is at work again.
--
-- All of it goes through the public calls, as these people, so it is what an app would have made. The distance is computed by
-- the worker when one runs. Running the file again does nothing.
--
-- The password is known to everybody, so a hosted project must not be given this file: `db push` leaves it out unless
-- --include-seed is said. Preview branches of a hosted project load it by themselves; `[db.seed] enabled = false` in
-- config.toml keeps it out of them.

do $$
declare
  v_ada constant uuid := '00000000-0000-4000-8000-00000000ada0';
  v_eva constant uuid := '00000000-0000-4000-8000-00000000e7a0';
  v_walk_began constant timestamptz := date_trunc('minute', now()) - interval '3 hours';
  v_token text;
  v_session_id uuid;
  v_points jsonb;
begin
  if exists (select from auth.users as u where u.id in (v_ada, v_eva) or u.email like '%@demo.example') then
    return;
  end if;

  -- Auth's own columns: a text that is null where it expects an empty one is an error at sign-in.
  insert into auth.users (
    id, aud, role, email, encrypted_password, email_confirmed_at, raw_app_meta_data, raw_user_meta_data,
    confirmation_token, recovery_token, email_change, email_change_token_new, created_at, updated_at
  )
  select
    p.id, 'authenticated', 'authenticated', p.email, extensions.crypt('Demo-12345', extensions.gen_salt('bf')), now(),
    '{"provider": "email", "providers": ["email"]}', jsonb_build_object('full_name', p.name), '', '', '', '', now(), now()
  from (values (v_ada, 'ada@demo.example', 'Ada Admin'), (v_eva, 'eva@demo.example', 'Eva Employee')) as p (id, email, name);
  -- Supabase's Auth finds only users of this instance; the stand-in of `npm start` has no such column.
  if exists (
    select from pg_catalog.pg_attribute as a where a.attrelid = 'auth.users'::regclass and a.attname = 'instance_id'
  ) then
    execute 'update auth.users set instance_id = $1 where id in ($2, $3)'
      using '00000000-0000-0000-0000-000000000000'::uuid, v_ada, v_eva;
  end if;
  insert into auth.identities (id, provider, provider_id, user_id, identity_data, last_sign_in_at, created_at, updated_at)
  select
    gen_random_uuid(), 'email', u.id::text, u.id,
    jsonb_build_object('sub', u.id, 'email', u.email, 'email_verified', true), now(), now(), now()
  from auth.users as u where u.id in (v_ada, v_eva);

  perform set_config('role', 'authenticated', true);
  perform set_config('request.jwt.claims',
    jsonb_build_object('role', 'authenticated', 'sub', v_ada, 'email', 'ada@demo.example')::text, true);
  perform public.create_organization(name => 'Demo', slug => 'demo', time_zone => 'Europe/Ljubljana');
  v_token := public.invite_employee(email => 'eva@demo.example', name => 'Eva Employee') ->> 'token';

  perform set_config('request.jwt.claims',
    jsonb_build_object('role', 'authenticated', 'sub', v_eva, 'email', 'eva@demo.example')::text, true);
  perform public.accept_invitation(token => v_token);

  -- Once around a circle of 600 m, which is 3,770 m, in an hour: a point every 30 seconds.
  v_session_id := (public.check_in(
    checked_in_at => v_walk_began, client_request_id => gen_random_uuid())).id;
  select jsonb_agg(jsonb_build_object(
    'recorded_at', v_walk_began + p.seconds * interval '1 second',
    'latitude', 46.0514 + 600 * sind(p.seconds / 10.0) / 111195,
    'longitude', 14.506 + 600 * cosd(p.seconds / 10.0) / (111195 * cosd(46.0514)),
    'accuracy_m', 5, 'speed_mps', 1.05) order by p.seconds)
  into v_points
  from generate_series(0, 3600, 30) as p (seconds);
  -- At most 100 points a call.
  perform public.record_locations(
    points => jsonb_path_query_array(v_points, '$[0 to 99]'), session_id => v_session_id);
  perform public.record_locations(
    points => jsonb_path_query_array(v_points, '$[100 to last]'), session_id => v_session_id);
  perform public.check_out(
    checked_out_at => v_walk_began + interval '65 minutes', client_request_id => gen_random_uuid());
  perform public.submit_expense(
    amount => 12.50, description => 'Parking at the castle', client_request_id => gen_random_uuid(), category => 'TRAVEL');

  -- At work again, so that the dashboard and the map show somebody.
  perform public.check_in(
    checked_in_at => now() - interval '20 minutes', client_request_id => gen_random_uuid());
  perform public.record_locations(points => jsonb_build_array(jsonb_build_object(
    'recorded_at', now() - interval '1 minute', 'latitude', 46.0514, 'longitude', 14.506, 'accuracy_m', 5)));

  perform set_config('role', 'none', true);
  perform set_config('request.jwt.claims', '', true);
end
$$;
