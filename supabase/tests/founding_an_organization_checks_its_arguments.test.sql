-- Bad values are named, nothing is half-written, and a user founds one organization at a time.
begin;
select plan(12);
select tests.cast_on_stage();
insert into auth.users (id, email, email_confirmed_at) values (tests.user_id('frank'), 'frank@example.test', now());
select tests.become('frank');
select tests.throws_code($$select public.create_organization('F', 'frank', 'FOO5')$$,
  'invalid_argument', 'a POSIX string is no zone');
select tests.throws_code($$select public.create_organization('F', 'frank', 'right/Europe/Paris')$$,
  'invalid_argument', 'nor is one that counts leap seconds');
select tests.throws_code($$select public.create_organization('F', 'frank', 'Mars/Olympus')$$,
  'invalid_argument', 'an unknown zone');
select tests.throws_code($$select public.create_organization('F', 'frank', null)$$, 'invalid_argument', 'no zone');
select tests.throws_code($$select public.create_organization('F', 'Not A Slug', 'UTC')$$, 'invalid_argument', 'a bad slug');
select tests.throws_code($$select public.create_organization('  ', 'frank', 'UTC')$$, 'invalid_argument', 'an empty name');
select tests.throws_code($$select public.create_organization('F', 'frank', 'UTC', 'euro')$$,
  'invalid_argument', 'no ISO 4217 code');
select tests.throws_code($$select public.create_organization('F', 'acme', 'UTC')$$, 'slug_taken', 'a taken slug');
select is((public.create_organization('  Frank "&" Söhne 🚚 ', 'frank', 'Asia/Kolkata', 'INR')).name, 'Frank "&" Söhne 🚚',
  'it is founded');
select is((select app_role from public.employees), 'ADMIN', 'the founder is its administrator');
select tests.throws_code($$select public.create_organization('G', 'frank-2', 'UTC')$$,
  'already_in_organization', 'not a second one');
select tests.become_role('authenticated');
select tests.throws_code($$select public.create_organization('G', 'nobody', 'UTC')$$,
  'not_authenticated', 'nobody without a user');
select * from finish();
rollback;
