-- Whatever a row about a person holds in a text, jsonb or bytea column, it is gone after an erasure: a marker is written into
-- every
-- such column of every table that says whose row it is, for each employment and each invitation of the person, and nothing of
-- it is
-- left anywhere in the database. A column that is added later and that the erasure does not know fails here.
begin;
select plan(14);
select tests.cast_on_stage();

-- Eva as issue and history have her: invited and taken back, invited anew and come, left, come back as another row.
insert into auth.users (id, email, email_confirmed_at) values (tests.user_id('eva'), 'marker-eva@example.test', now());
create temporary table made (name text primary key, value text) on commit drop;
grant all on made to authenticated;
select tests.become('alice');
insert into made select 'first', public.invite_employee('marker-eva@example.test', 'marker Eva',
  phone => '+386marker') ->> 'employee_id';
select public.set_employee_active((select value::uuid from made where name = 'first'), false) is not null as taken_back;
select tests.become_postgres();
-- What an installation made before an address continued in the same row: a second row for the same address.
insert into public.employees (organization_id, id, name, phone, is_active)
values (tests.acme(), tests.user_id('eva2'), 'marker Eva again', '+386marker2', true);
insert into public.invitations (organization_id, employee_id, email, expires_at)
values (tests.acme(), tests.user_id('eva2'), 'marker-eva@example.test', now() + interval '1 day');
insert into private.invitation_tokens (organization_id, invitation_id, token_hash)
select organization_id, id, private.hash_token('fti_eva') from public.invitations where employee_id = tests.user_id('eva2');
select tests.become('eva');
select is((public.accept_invitation('fti_eva')).id, tests.user_id('eva2'), 'Eva comes');
select tests.become('alice');
select public.update_employee(tests.user_id('eva2'),
  '{"phone": "+386marker3", "employee_code": "marker-7"}') is not null as changed;
select tests.become('eva');
select public.my_device_token('marker phone') is not null as phone;
insert into made select 'session', (public.check_in(now() - interval '1 hour', gen_random_uuid(), 46.0522, 14.5052)).id;
insert into made select 'correction', (public.request_correction('marker forgot', gen_random_uuid(),
  checked_in_at => now() - interval '9 hours', checked_out_at => now() - interval '8 hours')).id;
insert into made select 'tap', (public.record_session(now() - interval '7 hours', now() - interval '6 hours',
  gen_random_uuid())).id;
insert into made select 'expense', (public.submit_expense(10, 'marker lunch', gen_random_uuid())).id;
select tests.become('alice');
select public.void_session((select value::uuid from made where name = 'tap'), 'marker never was') is not null as voided;
select public.review_correction((select value::uuid from made where name = 'correction'), 'APPROVED', 'marker yes') is not null;
select public.review_expense((select value::uuid from made where name = 'expense'), 'REJECTED',
  comment => 'marker no') is not null;
select public.force_check_out(tests.user_id('eva2'), reason => 'marker was seen in a cafe') is not null as out;
select public.correct_session((select value::uuid from made where name = 'session'), now() - interval '50 minutes',
  now() - interval '10 minutes', 'marker was late') is not null as corrected;
select tests.become_postgres();
select tests.webhook() is not null as hooked;

-- Dan has the same first address in his history, but an account of his own: he is another person.
insert into public.invitations (organization_id, employee_id, email, status, accepted_at, expires_at)
values (tests.acme(), tests.user_id('carol'), 'shared@example.test', 'ACCEPTED', now(), now());
insert into public.invitations (organization_id, employee_id, email, status, accepted_at, expires_at)
values (tests.acme(), tests.user_id('eva2'), 'shared@example.test', 'ACCEPTED', now(), now());

-- Every row that names one of the person's employees gets the marker wherever it may hold one. A column that refuses every
-- form of
-- it (a list of words, a pattern, a digest's length) cannot hold a person's own words.
create temporary table filled (what text) on commit drop;
create function pg_temp.fill(v_person uuid) returns void language plpgsql as $$
declare
  v record;
  v_value text;
begin
  perform set_config('fieldtrack.erasure', 'on', true);
  for v in
    select c.oid::regclass as relation, a.attname, t.typname,
      case when c.oid = 'public.employees'::regclass then 'id' else o.attname end as owner
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    join pg_type as t on t.oid = a.atttypid
    left join pg_attribute as o on o.attrelid = c.oid and o.attname = 'employee_id'
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and c.relkind in ('r', 'p') and not c.relispartition
      and (o.attname is not null or c.oid = 'public.employees'::regclass)
      and t.typname in ('text', 'jsonb', 'bytea', '_text')
      -- By the address the rows of one person are found. The others hold the system's words or those of the organization: no call
      -- of anybody writes a person's into them.
      and (c.relname, a.attname) not in (values
        ('invitations', 'email'), ('events', 'subject_type'), ('events', 'traceparent'), ('employee_latest_sessions',
          'distance_status'),
        ('employee_metrics_snapshot', 'approved_amounts'), ('employee_daily_metrics', 'time_zone'),
        ('employee_daily_metrics', 'currency'))
  loop
    foreach v_value in array case v.typname
      when 'jsonb' then array['{"some_text": "marker z"}'] when 'bytea' then array['marker z'] when '_text' then array['{"marker z"}']
      else array['marker z' || v_person, 'marker-' || substr(v_person::text, 25), 'marker' || substr(v_person::text, 25)
        || '@example.test'] end
    loop
      begin
        -- Of this transaction's events the payload is what triggers wrote, plus a text that no contract knows yet.
        if v.typname = 'jsonb' and v.attname = 'payload' then
          execute format('update %s set %I = %I || %L where %I = %L', v.relation, v.attname, v.attname, v_value, v.owner,
            v_person);
        else
          execute format('update %s set %I = %L where %I = %L', v.relation, v.attname, v_value, v.owner, v_person);
        end if;
        insert into filled values (format('%s.%s', v.relation, v.attname));
        exit;
      exception when check_violation or unique_violation or foreign_key_violation then
        null;
      end;
    end loop;
  end loop;
  perform set_config('fieldtrack.erasure', '', true);
end
$$;
select pg_temp.fill(tests.user_id('eva2'));
select pg_temp.fill((select value::uuid from made where name = 'first'));
select cmp_ok((select count(distinct what) from filled), '>', 8::bigint, 'columns that may hold a person''s words are found');
select ok('expenses.description' in (select what from filled) and 'device_tokens.name' in (select what from filled),
  'those that are known are among them');

create function pg_temp.found(what text) returns setof text language plpgsql as $$
declare
  v record;
  v_count bigint;
begin
  for v in
    select c.oid::regclass as relation, a.attname, t.typname
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type as t on t.oid = a.atttypid
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'gps'::regnamespace, 'pgboss'::regnamespace)
      and c.relkind in ('r', 'p') and not c.relispartition
      and t.typname in ('text', 'varchar', 'json', 'jsonb', 'bytea', '_text', 'uuid')
  loop
    execute format($f$select count(*) from %s as t where %s ~* %L$f$, v.relation,
      case v.typname when 'bytea' then format('encode(t.%I, ''escape'')', v.attname) else format('t.%I::text', v.attname) end,
        what)
    into v_count;
    if v_count > 0 then
      return next format('%s.%s: %s', v.relation, v.attname, v_count);
    end if;
  end loop;
end
$$;
select isnt_empty($$select pg_temp.found('marker')$$, 'before, the person stands in many places');

select tests.become('alice');
select is((public.erase_employee(tests.user_id('eva2'), 'Asked for by letter.') ->> 'employee_id')::uuid,
  tests.user_id('eva2'), 'erased');
select tests.become_postgres();
select private.continue_erasures() is not null, private.continue_erasures() is not null, private.continue_erasures() is not null;
select is((select count(*) from private.erasures where completed_at is not null), 2::bigint, 'both rows of the person');
select is_empty($$select pg_temp.found('marker')$$, 'nothing of the person is left');
select is_empty(format($$select pg_temp.found(%L)$$, tests.user_id('eva')), 'nor the account''s id');
select is_empty($$select pg_temp.found('46\.05')$$, 'nor a position');
select results_eq($$select name, is_active from public.employees where id = tests.user_id('carol')$$, $$values ('Carol', true)$$,
  'somebody else with an account of her own stays, although one address was once both''s');

-- A month later who never came is forgotten, whether the invitation ran out or was taken back; of who did come, the address goes.
select tests.become('alice');
select public.invite_employee('marker-gone@example.test', 'marker Gone', phone => 'marker 1') is not null as gone;
select public.invite_employee('marker-back@example.test', 'marker Back', phone => 'marker 2') is not null as taken;
select public.invite_employee('marker-bob@example.test', employee_id => tests.user_id('dave')) is not null as dave;
select public.set_employee_active(id, false) is not null as back from public.employees where name = 'marker Back';
select tests.become_postgres();
select is(private.purge_leftovers(), 0::bigint, 'not before');
update public.invitations set revoked_at = now() - interval '31 days' where status = 'REVOKED';
update public.invitations set expires_at = now() - interval '31 days' where status = 'PENDING';
select is(private.purge_leftovers(), 3::bigint, 'an expired and a revoked one go, and one of who was here before');
select private.continue_erasures() is not null as a, private.continue_erasures() is not null as b;
select is_empty($$select pg_temp.found('marker')$$, 'with the names, numbers and addresses');
select results_eq($$select name from public.employees where id = tests.user_id('dave')$$, $$values ('Dave')$$, 'Dave stays Dave');
select * from finish();
rollback;
