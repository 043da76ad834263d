-- A ticket opens one stream, for its administrator, within 30 seconds.
begin;
select plan(11);
select tests.cast_on_stage();
create temporary table ticket (name text, value text) on commit drop;
grant all on ticket to authenticated, fieldtrack_edge;
create function pg_temp.hash(name text) returns bytea language sql as $$
  select sha256(convert_to(t.value, 'UTF8')) from ticket as t where t.name = hash.name
$$;
grant execute on function pg_temp.hash(text) to fieldtrack_edge;

select tests.become('alice');
insert into ticket select n, public.create_stream_ticket() ->> 'ticket' from unnest('{first,late,demoted}'::text[]) as n;
select matches((select value from ticket where name = 'first'), '^ft_ticket_[\w-]{43}$', 'a ticket is a secret');
select throws_ok('select token_hash from private.stream_tickets', '42501', null, 'the hash is readable by nobody');
select tests.become('bob');
select tests.throws_code('select public.create_stream_ticket()', 'admin_required', 'an employee gets none');

select tests.become_role('fieldtrack_edge');
select throws_ok('select from private.stream_tickets', '42501', null, 'the function reads no table');
select results_eq($$select organization_id, employee_id from private.use_stream_ticket(pg_temp.hash('first'))$$,
  $$values (tests.acme(), tests.user_id('alice'))$$, 'it is the administrator''s who made it');
select is_empty($$select organization_id, employee_id from private.use_stream_ticket(pg_temp.hash('first'))$$,
  'a second time it is nobody''s');
select is_empty($$select organization_id, employee_id from private.use_stream_ticket('\x00')$$, 'nor is nonsense');

select tests.become_postgres();
update private.stream_tickets set expires_at = now() where token_hash = pg_temp.hash('late');
select tests.become_role('fieldtrack_edge');
select is_empty($$select organization_id, employee_id from private.use_stream_ticket(pg_temp.hash('late'))$$,
  'after 30 seconds it is nobody''s');
select tests.become_postgres();
select is(private.purge_stream_tickets(), 1::bigint, 'what expired is deleted');
update public.employees set app_role = 'EMPLOYEE' where id = tests.user_id('alice');
select tests.become_role('fieldtrack_edge');
select is_empty($$select organization_id, employee_id from private.use_stream_ticket(pg_temp.hash('demoted'))$$,
  'nor is one of a former administrator');
select is_empty($$select * from private.keep_admins(array[tests.acme()], array[tests.user_id('alice')])$$,
  'whose stream ends');
select * from finish();
rollback;
