-- erase_employee lists the person's receipts; from then on, and not before, an administrator may delete these files. All of them
-- once the organization has given notice: its rows will go by themselves, files do not.
begin;
select plan(8);
select tests.cast_on_stage();

insert into storage.objects (bucket_id, name)
select 'receipts', format('%s/%s/%s.jpg', tests.acme(), tests.user_id(person), n)
from unnest('{bob,carol}'::text[]) as person cross join generate_series(1, 2) as n;

select tests.become('alice');
delete from storage.objects where name like '%' || tests.user_id('bob') || '%';
select is((select count(*) from storage.objects), 4::bigint, 'before, a receipt is evidence');
select is(
  jsonb_array_length(public.erase_employee(tests.user_id('bob'), 'Asked for it.') -> 'receipts'), 2,
  'the person''s receipts are listed');
select tests.become('mallory');
delete from storage.objects where true;
select tests.become('alice');
select is((select count(*) from storage.objects), 4::bigint, 'another organization''s administrator deletes none');
delete from storage.objects where true;
select is(
  (select count(*) from storage.objects where name like '%' || tests.user_id('bob') || '%'), 0::bigint,
  'the own one all of them');
select is((select count(*) from storage.objects), 2::bigint, 'and nobody else''s');
select is(
  public.erase_employee(tests.user_id('bob'), 'Once more.') -> 'receipts', '[]'::jsonb, 'then none is left');
select public.delete_organization('acme') is not null as notice_given;
select tests.become('carol');
delete from storage.objects where true;
select tests.become('alice');
select is((select count(*) from storage.objects), 2::bigint, 'an employee deletes none, whatever becomes of the organization');
delete from storage.objects where true;
select is((select count(*) from storage.objects), 0::bigint, 'its administrator all, once it is to go');

select * from finish();
rollback;
