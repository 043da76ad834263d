-- Nobody promotes themselves, an organization keeps an administrator, and deactivation closes the day.
begin;
select plan(20);
select tests.cast_on_stage();
select tests.become('bob');
select tests.throws_code(format($$select public.update_employee(%L, '{"app_role": "ADMIN"}')$$, tests.user_id('bob')),
  'admin_required', 'no self-promotion');
select tests.throws_code($$select public.update_organization('{"max_speed_mps": 100}')$$, 'admin_required', 'no settings');
select (public.check_in(now(), gen_random_uuid())).status;
select tests.become('alice');
select tests.throws_code(format($$select public.update_employee(%L, '{"organization_id": "x"}')$$, tests.user_id('bob')),
  'invalid_argument', 'no mass assignment');
select tests.throws_code(format($$select public.update_employee(%L, '{"name": null}')$$, tests.user_id('bob')),
  'invalid_argument', 'a name is needed');
select tests.throws_code(format($$select public.update_employee(%L, '{"employee_code": "EMP0003"}')$$, tests.user_id('bob')),
  'employee_code_taken', 'a code is unique');
select tests.throws_code(format($$select public.update_employee(%L, '{"app_role": "EMPLOYEE"}')$$, tests.user_id('alice')),
  'last_admin', 'the last administrator stays one');
select tests.throws_code(format('select public.set_employee_active(%L, false)', tests.user_id('alice')), 'last_admin',
  'and stays active');
select is((public.update_employee(tests.user_id('bob'),
  '{"name": " Bob O''Neil 🚚 ", "phone": "+386 1 234"}')).name, 'Bob O''Neil 🚚', 'changed');
select is((public.update_employee(tests.user_id('bob'), '{"phone": null}')).phone, null, 'null clears the phone');
select tests.throws_code(format($$select public.update_employee(%L, jsonb_build_object('name', repeat('x', 10000)))$$,
  tests.user_id('bob')),
  'invalid_argument', '10,000 characters are no name');

select is((public.set_employee_active(tests.user_id('bob'), false)).is_active, false, 'deactivated');
select is((public.set_employee_active(tests.user_id('bob'), false)).is_active, false, 'twice is not an error');
select results_eq($$select status, closed_by from public.attendance_sessions$$, $$values ('CLOSED', 'ADMIN')$$,
  'the open session was closed');
select is((select count(*) from public.audit_log where action = 'employee.deactivated'), 1::bigint, 'audited once');
select tests.become('bob');
select tests.throws_code('select public.get_my_profile()', 'not_a_member', 'the next statement is refused');
select tests.become('alice');
select tests.throws_code(format('select public.set_employee_active(%L, true)', tests.user_id('bob')), 'invitation_needed',
  'coming back is the person''s decision');
create temporary table token on commit drop as
select public.invite_employee('bob@example.test', employee_id => tests.user_id('bob')) ->> 'token' as value;
grant select on token to authenticated;
select tests.become('bob');
select is((public.accept_invitation((select value from token))).id, tests.user_id('bob'), 'who takes up the employment again');
select is(public.get_my_profile() ->> 'name', 'Bob O''Neil 🚚', 'and may work again');

select tests.become('alice');
select tests.throws_code($$select public.update_organization('{"slug": "x"}')$$, 'invalid_argument', 'only settings');
select tests.throws_code($$select public.update_organization('{"location_retention_days": 1}')$$, 'invalid_argument',
  'retention is longer than grace and session');
select * from finish();
rollback;
