-- A claim may name a receipt whose file never came: the field receipt_is_uploaded says so, to whom the claim is shown.
begin;
select plan(7);
select tests.cast_on_stage();

select tests.become('bob');
create temporary table claim (id uuid, path text);
grant select on claim to authenticated;
insert into claim
select (public.submit_expense(amount => 10, description => 'Parking', client_request_id => gen_random_uuid(),
  receipt_path => p.path)).id, p.path
from (select public.create_receipt_path('jpg') ->> 'path' as path) as p;
select public.submit_expense(amount => 11, description => 'No receipt',
  client_request_id => gen_random_uuid()) is not null as claimed;

select tests.become('alice');
select is(
  (select public.receipt_is_uploaded(x) from public.expenses as x where x.amount = 10), false, 'the file never came');
select is((select public.receipt_is_uploaded(x) from public.expenses as x where x.amount = 11), null, 'nothing was promised');

select tests.become('bob');
insert into storage.objects (bucket_id, name) select 'receipts', c.path from claim as c;
select is((select public.receipt_is_uploaded(x) from public.expenses as x where x.amount = 10), true, 'Bob sees that it came');
select tests.become('alice');
select is((select public.receipt_is_uploaded(x) from public.expenses as x where x.amount = 10), true,
  'so does his administrator');

select tests.become('mallory');
select is(
  (select public.receipt_is_uploaded(
    jsonb_populate_record(null::public.expenses, jsonb_build_object('organization_id', tests.acme(), 'id', c.id,
      'receipt_path', c.path)))
    from claim as c),
  null, 'a row that somebody makes up says nothing');
select tests.become('carol');
select is(
  (select public.receipt_is_uploaded(
    jsonb_populate_record(null::public.expenses, jsonb_build_object('organization_id', tests.acme(), 'id', c.id,
      'receipt_path', c.path)))
    from claim as c),
  null, 'nor does a colleague''s');
select tests.become_postgres();
select is(private.is_receipt_uploaded(tests.other(), (select c.path from claim as c)), false,
  'a path of another organization is not looked for');

select * from finish();
rollback;
