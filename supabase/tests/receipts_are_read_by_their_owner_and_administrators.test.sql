-- The policies of the bucket `receipts`; that Storage's answers follow them is tested through its API
-- (test/local/storage.test.ts).
begin;
select plan(17);
select tests.cast_on_stage();
select ok('storage' = any (private.install_platform()), 'storage is found');
select ok('storage' = any (private.install_platform()), 'and may be set up again');
select is((select public from storage.buckets where id = 'receipts'), false, 'the bucket is private');
insert into storage.buckets (id, name) values ('claims-avatars', 'claims-avatars');

create function pg_temp.upload(path text, bucket text default 'receipts') returns text language plpgsql as $$
begin
  insert into storage.objects (bucket_id, name) values (bucket, path);
  return 'stored';
exception
  when insufficient_privilege then
    return 'refused';
end
$$;
grant execute on function pg_temp.upload(text, text) to authenticated;

create function pg_temp.path(person text, organization_id uuid default tests.acme()) returns text language sql as $$
  select format('%s/%s/%s.jpg', organization_id, tests.user_id(person), gen_random_uuid())
$$;
grant execute on function pg_temp.path(text, uuid) to authenticated;

select tests.become('bob');
select is(pg_temp.upload(public.create_receipt_path('jpg') ->> 'path'), 'stored', 'Bob stores his receipt');
select is(pg_temp.upload(pg_temp.path('carol')), 'refused', 'not under a colleague');
select is(pg_temp.upload(pg_temp.path('bob', tests.other())), 'refused', 'not under another organization');
select is(pg_temp.upload(gen_random_uuid() || '.jpg'), 'refused', 'not at the root');
select is(pg_temp.upload(pg_temp.path('bob'), 'claims-avatars'), 'refused', 'not in another bucket');
select is(pg_temp.upload(tests.acme() || '/' || tests.user_id('bob') || '/../../' || pg_temp.path('carol')), 'refused',
  'nor on a way round');
select is(pg_temp.upload(tests.acme() || '/' || tests.user_id('bob') || '/deeper/' || gen_random_uuid() || '.jpg'), 'refused',
  'nor deeper');
select is(pg_temp.upload(tests.acme() || '/' || tests.user_id('bob') || '/dinner with Ann.jpg'), 'refused', 'names say nothing');
select is(pg_temp.upload(pg_temp.path('bob') || '.exe'), 'refused', 'and end as receipts do');
select is(pg_temp.upload(upper(pg_temp.path('bob'))), 'refused', 'in the one spelling');
select is((select count(*) from storage.objects), 1::bigint, 'he reads it');
select tests.become('carol');
select is((select count(*) from storage.objects), 0::bigint, 'a colleague does not');
select tests.become('alice');
select is((select count(*) from storage.objects), 1::bigint, 'his administrator does');
select tests.become('mallory');
select is((select count(*) from storage.objects), 0::bigint, 'another organization''s does not');
select * from finish();
rollback;
