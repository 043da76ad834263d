-- Of a refused value `details` names the rule, or the column that may not be null; it is never empty.
begin;
select plan(12);
select tests.cast_on_stage();
create temporary table hook on commit drop as select tests.webhook() as id;
grant select on hook to authenticated;
create function pg_temp.details(statement text) returns text language plpgsql as $$
begin
  execute statement;
  return 'no error';
exception
  when sqlstate 'PGRST' then
    return (sqlerrm::jsonb ->> 'code') || ': ' || (sqlerrm::jsonb ->> 'details');
end
$$;
grant execute on function pg_temp.details(text) to authenticated;

select tests.become('alice');
select is(pg_temp.details(statement), 'invalid_argument: ' || details, statement)
from (
  values
    ($$select public.update_organization('{"name": null}')$$, 'name'),
    ($$select public.update_organization('{"max_session_hours": 0}')$$, 'max_session_hours_is_1_to_168'),
    ($$select public.update_employee(tests.user_id('bob'), '{"name": null}')$$, 'name'),
    ($$select public.create_api_key(null, '{events:read}')$$, 'name'),
    ($$select public.create_device_token(tests.user_id('bob'), null)$$, 'name'),
    ($$select public.create_webhook('https://hooks.example.com/', '{*}', null, 100000)$$, 'max_in_flight'),
    ($$select public.update_webhook((select id from hook), '{"is_active": null}')$$, 'is_active'),
    ($$select public.update_webhook((select id from hook), '{"is_active": "perhaps"}')$$, 'changes'),
    ($$select public.update_webhook((select id from hook), '{"max_in_flight": 0}')$$, 'max_in_flight_is_1_to_20')
) as refusal (statement, details);
select tests.become('bob');
select is(pg_temp.details($$select public.submit_expense(12, null, gen_random_uuid())$$), 'invalid_argument: description',
  'an expense');
select is(pg_temp.details($$select public.check_in(null, gen_random_uuid())$$), 'invalid_argument: checked_in_at',
  'a check-in');
select is(pg_temp.details($$select public.check_out(null, gen_random_uuid())$$), 'invalid_argument: checked_out_at',
  'a check-out');

select * from finish();
rollback;
