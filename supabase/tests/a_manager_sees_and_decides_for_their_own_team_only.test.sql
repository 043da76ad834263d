-- Carol manages Bob's team. She reads and decides for Bob and for nobody else, and for nothing from the statement after she is
-- no manager any more. She never decides for herself, not even as a member of her own team.
begin;
select plan(21);
select tests.cast_on_stage();
create temporary table target (who text, session_id uuid, expense_id uuid) on commit drop;
grant select on target to authenticated;
insert into target values
  ('bob', tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'), gen_random_uuid()),
  ('alice', tests.closed_session('alice', now() - interval '3 hours', now() - interval '2 hours'), gen_random_uuid()),
  ('carol', tests.closed_session('carol', now() - interval '3 hours', now() - interval '2 hours'), gen_random_uuid());
insert into public.expenses (organization_id, id, employee_id, spent_on, amount, currency, category, description,
  client_request_id)
select tests.acme(), t.expense_id, tests.user_id(t.who), tests.today(), 12.5, 'EUR', 'MEALS', 'Lunch', gen_random_uuid()
  from target as t;

select tests.become('carol');
select is((select count(*) from public.attendance_sessions), 1::bigint, 'without a team she sees her own session only');
select tests.throws_code($$select public.create_team('North')$$, 'admin_required', 'an employee makes no team');

select tests.become('alice');
create temporary table team on commit drop as select (public.create_team('North')).id;
grant select on team to authenticated;
select tests.throws_code($$select public.create_team('North')$$, 'team_name_taken', 'a name is given once');
select tests.throws_code($$select public.create_team('  ')$$, 'invalid_argument', 'a team has a name');
select is((public.update_employee(tests.user_id('bob'), jsonb_build_object('team_id', (select id from team)))).team_id,
  (select id from team), 'Bob comes into the team');
select is((public.update_employee(tests.user_id('carol'), jsonb_build_object('team_id', (select id from team)))).team_id,
  (select id from team), 'and so does Carol');
select tests.throws_code(
  format('select public.update_employee(%L, %L)', tests.user_id('bob'), jsonb_build_object('team_id', gen_random_uuid())),
  'team_not_found', 'a team that is not there');
select lives_ok(format('select public.set_team_manager(%L, %L)', (select id from team), tests.user_id('carol')),
  'Carol manages it');
select lives_ok(format('select public.set_team_manager(%L, %L)', (select id from team), tests.user_id('carol')),
  'saying it again is safe');

select tests.become('carol');
select results_eq(
  $$select t.who from public.attendance_sessions as s join target as t on t.session_id = s.id order by 1$$,
  array['bob', 'carol'], 'she reads the sessions of her team and her own');
select results_eq('select name from public.employees order by 1', array['Bob', 'Carol'], 'and the people of it');
select is((public.review_expense((select expense_id from target where who = 'bob'), 'APPROVED')).status, 'APPROVED',
  'she reviews a claim of her team');
select tests.throws_code(
  format('select public.review_expense(%L, ''APPROVED'')', (select expense_id from target where who = 'alice')),
  'expense_not_found', 'no claim of anybody else');
select tests.throws_code(
  format('select public.review_expense(%L, ''APPROVED'')', (select expense_id from target where who = 'carol')),
  'own_expense', 'and not her own');
select is((public.correct_session((select session_id from target where who = 'bob'), now() - interval '3 hours',
  now() - interval '1 hour', 'Left later')).corrected_at, now(), 'she corrects a session of her team');
select tests.throws_code(
  format('select public.correct_session(%L, now() - interval ''3 hours'', now() - interval ''1 hour'', ''Longer'')',
    (select session_id from target where who = 'carol')), 'session_not_found', 'and not her own');
select tests.throws_code(
  format('select public.force_check_out(%L)', tests.user_id('alice')), 'employee_not_found',
  'she checks out nobody of another team');
select is((public.get_user_summary(tests.user_id('bob'))) ->> 'name', 'Bob', 'she reads the summary of her team''s people');
select tests.throws_code($$select public.update_organization('{"name": "Hers"}')$$, 'admin_required',
  'settings stay with administrators');

select tests.become('alice');
select lives_ok(format('select public.set_team_manager(%L, %L, false)', (select id from team), tests.user_id('carol')),
  'Carol manages it no longer');
select tests.become('carol');
select is((select count(*) from public.attendance_sessions), 1::bigint, 'and reads nothing of it from the next statement on');

select * from finish();
rollback;
